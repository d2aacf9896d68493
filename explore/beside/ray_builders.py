"""RayBuilders: the nodes of a Ray cluster as builders.

Each node has as many builders as its CPUs, GPUs and memory allow. A builder loads the task once. What a lost
node was building begins again on another one. Nodes that join later are taken in.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from ...compress.recipe import Recipe
from ...errors import InputError, StageError
from ...files import canonical_json
from ...targets.transport import VANISHED_LIMIT
from .builders import Ready
from .messages import BuilderConfig, read_reply, unpacked
from .ray_actors import Builder, LevelStore, Versions
from .ray_cluster import Node, NodeLost, Running, connected

MOST_BUILDERS = 4  # on a node; they share its CPUs
LOAD_S = 10.0  # that a search waits for the first one that has loaded the task
LOOK_S = 5.0  # between two looks at who is in the cluster
LEAST_MEMORY = 1 << 30  # bytes, of a builder
MOST_LOST = 2 * VANISHED_LIMIT  # builders of a node in a row, without a result: no more are started there


@dataclass(slots=True, kw_only=True, eq=False)
class _OnNode:
    """A builder on a node, and what it is doing."""

    node: Node
    actor: Any
    doing: Running | None = None
    recipe: Recipe | None = None
    loaded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPlan:
    """What is wanted of a cluster: its `address`, the `folder` that goes to all nodes, `search`, which others
    on a node are told, and the bytes that a builder needs.

    `spare`: the cores of this machine that no measurement uses. `gpus`: `no`, `wanted` where there are some,
    or `needed`.
    """

    address: str
    folder: Path | None
    search: str
    memory_bytes: int
    spare: Sequence[int]
    gpus: str = "no"


class RayBuilders:
    """See Builders. Entering it connects to the cluster: InputError where that has nobody who could build."""

    only_recoveries = False

    def __init__(self, plan: ClusterPlan, config: BuilderConfig, *, note: Callable[[str], None]):
        self.plan, self.config, self._note = plan, config, note
        self._open = ExitStack()
        self._builders: list[_OnNode] = []
        self._waiting: deque[Recipe] = deque()
        self._lost: dict[str, int] = {}  # how often a recipe's node was lost, by its digest
        self._refused: set[str] = set()  # nodes that cannot build
        self._lost_on: Counter[str] = Counter()  # builders that were lost on a node since its last result
        self._looked_at = 0.0
        self._told: set[str] = set()  # names of nodes that were lost or refused
        self._ever_loaded = False

    # --- the cluster

    def __enter__(self) -> "RayBuilders":
        self._cluster = self._open.enter_context(connected(self.plan.address, folder=self.plan.folder))
        try:
            self._require_gpus()
            here = next(node for node in self._cluster.nodes() if node.here)
            self._store = self._cluster.actor(LevelStore, str(self.config.levels_dir), node=here)
            self._take_in_nodes()
            self._require_one()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for builder in self._builders:
            self._cluster.end(builder.actor)
        self._builders = []
        self._open.close()

    def _require_gpus(self) -> None:
        nodes = self._cluster.nodes()
        if self.plan.gpus == "needed" and not any(node.gpus for node in nodes):
            names = ", ".join(node.name for node in nodes)
            raise InputError(
                f"--device cuda: no node of the Ray cluster has a GPU ({names}). Give --device cpu or auto, "
                "or join a machine with `ray start --address=… --num-gpus=1`."
            )

    def _take_in_nodes(self) -> None:
        """Starts builders on nodes that are new, and in the place of lost ones."""
        self._looked_at = time.monotonic()
        for node in self._cluster.nodes():
            if node.id not in self._refused and self._lost_on[node.id] < MOST_LOST:
                self._start_on(node)

    def _start_on(self, node: Node) -> None:
        """Starts the builders that the node has room for, besides those that are there."""
        if node.targets:  # whoever measures there must not be disturbed
            return
        cores = tuple(self.plan.spare) if node.here else ()
        cpus = min(node.cpus, len(cores)) if node.here else node.cpus
        gpus = 0 if self.plan.gpus == "no" else node.gpus
        most = min(gpus or MOST_BUILDERS, node.memory_bytes // max(self.plan.memory_bytes, LEAST_MEMORY))
        count = min(most, cpus)
        there = sum(builder.node.id == node.id for builder in self._builders)
        config = replace(self.config, device="cuda" if gpus else "cpu").to_json()
        for _ in range(there, count):
            arguments = (config, self._store, self.plan.search, cores, cpus // count)
            actor = self._cluster.actor(
                Builder, *arguments, node=node, cpus=cpus // count, gpus=1 if gpus else 0
            )
            builder = _OnNode(node=node, actor=actor)
            builder.doing = self._cluster.begin(actor, "versions")
            self._builders.append(builder)

    def _require_one(self) -> None:
        """Waits a moment for the first builder to load the task: what is wrong shows soon. InputError where
        none can build.
        """
        if not self._builders:
            raise InputError(
                f"--ray {self.plan.address}: no node has a CPU and memory for building, besides the cores "
                "and nodes that are measured on: join another machine with `ray start --address=…`, or leave "
                "--ray out."
            )
        where = ", ".join(sorted({builder.node.name for builder in self._builders}))
        self._note(f"Building on a Ray cluster: {len(self._builders)} builders on {where}.")
        end = time.monotonic() + LOAD_S
        while not self._ever_loaded and time.monotonic() < end:
            self._settle(wait_s=1.0)

    # --- what the search asks

    @property
    def cores(self) -> Sequence[int]:
        """Those of this machine that builders keep to."""
        return self.plan.spare if any(builder.node.here for builder in self._builders) else ()

    @property
    def slots(self) -> int:
        """How many recipes are built at the same time."""
        return len(self._builders)

    @property
    def free(self) -> int:
        """How many recipes may be started now."""
        return max(0, len(self._idle) - len(self._waiting))

    @property
    def stage(self) -> str:
        """What they are doing."""
        count = sum(builder.recipe is not None for builder in self._builders)
        return f"{count + len(self._waiting)} candidates are built on the cluster"

    def start(self, recipe: Recipe) -> None:
        """See Builders."""
        self._waiting.append(recipe)
        self._hand_out()

    def poll(self, *, wait_s: float = 0.0) -> Ready | None:
        """See Builders."""
        end = time.monotonic() + wait_s
        while True:
            if time.monotonic() - self._looked_at > LOOK_S:
                self._take_in_nodes()
            self._hand_out()
            if self._waiting and not self._builders:
                return Ready(self._waiting.popleft(), None)
            ready = self._settle(wait_s=min(LOOK_S, max(0.0, end - time.monotonic())))
            if ready is not None or time.monotonic() >= end:
                return ready

    def kls(
        self, recipes: Sequence[Recipe], *, meanwhile: Callable[[], None]
    ) -> list[float | StageError | None]:
        """See Builders."""
        asked = list(zip(recipes, self._idle, strict=False))
        for recipe, builder in asked:
            builder.doing = self._cluster.begin(builder.actor, "kl", _text(recipe))
        meanwhile()
        answers: list[float | StageError | None] = [self._kl(builder) for _, builder in asked]
        return answers + [None] * (len(recipes) - len(asked))

    def cancel(self) -> None:
        """See Builders. A builder cannot be interrupted: it is ended, and a new one takes its place."""
        self._waiting.clear()
        for builder in [builder for builder in self._builders if builder.recipe is not None]:
            self._cluster.end(builder.actor)
            self._builders.remove(builder)

    # --- builders

    @property
    def _idle(self) -> list[_OnNode]:
        return [builder for builder in self._builders if builder.loaded and builder.doing is None]

    def _hand_out(self) -> None:
        for builder in self._idle:
            if not self._waiting:
                return
            builder.recipe = self._waiting.popleft()
            builder.doing = self._cluster.begin(builder.actor, "build", _text(builder.recipe))

    def _kl(self, builder: _OnNode) -> float | StageError | None:
        answer = self._answer_of(builder)
        if not isinstance(answer, str):
            return None if answer is None else float(answer)
        error = read_reply(answer)
        assert isinstance(error, StageError)
        return error

    def _settle(self, *, wait_s: float) -> Ready | None:
        """Takes the next answer of any builder; what became of a recipe, if it was about one."""
        by_work = {builder.doing: builder for builder in self._builders if builder.doing is not None}
        done = self._cluster.first_done(list(by_work), wait_s=wait_s)
        if done is None:
            if not by_work:
                time.sleep(wait_s)
            return None
        builder = by_work[done]
        if not builder.loaded:
            self._get_ready(builder)
            return None
        recipe, builder.recipe = builder.recipe, None
        answer = self._answer_of(builder)
        assert recipe is not None
        if answer is None:
            return self._again(recipe)
        self._lost_on[builder.node.id] = 0
        result = unpacked(answer, out_dir=self.config.out_dir, checks_dir=self.config.checks_dir)
        return Ready(recipe, result)

    def _answer_of(self, builder: _OnNode) -> Any:
        """The answer to what a builder was asked; None, and it is one less, when it was lost."""
        assert builder.doing is not None
        doing, builder.doing = builder.doing, None
        try:
            return self._cluster.answer(doing)
        except NodeLost as error:
            self._lost_on[builder.node.id] += 1
            self._looked_at = 0.0  # another one takes its place at once, where the node is there
            self._drop(builder, f"lost a builder: {error}")
            return None

    def _get_ready(self, builder: _OnNode) -> None:
        """The next step of a builder that has just started: its versions, then the task."""
        answer = self._answer_of(builder)
        if answer is None:
            return
        if isinstance(answer, Versions):
            differing = Versions.here().differing(answer)
            if differing:
                texts = [f"{name} {others} instead of {mine}" for name, mine, others in differing]
                self._refuse(builder, f"does not build: it has {', '.join(texts)}: install the same there.")
                return
            builder.doing = self._cluster.begin(builder.actor, "load")
        elif answer:
            self._refuse(builder, f"does not build: {answer}")
        else:
            builder.loaded = self._ever_loaded = True

    def _refuse(self, builder: _OnNode, reason: str) -> None:
        """Takes none of its node any more."""
        self._refused.add(builder.node.id)
        self._drop(builder, reason)

    def _drop(self, builder: _OnNode, reason: str) -> None:
        self._builders.remove(builder)
        self._cluster.end(builder.actor)
        if not (self._builders or self._ever_loaded):
            raise InputError(f"--ray {self.plan.address}: no node can build. {builder.node.name} {reason}")
        if builder.node.name not in self._told:
            self._told.add(builder.node.name)
            self._note(f"Note: the Ray node {builder.node.name} {reason}")

    def _again(self, recipe: Recipe) -> Ready | None:
        """Tries a recipe again whose builder was lost. One that loses every builder is to blame itself."""
        lost = self._lost[recipe.digest] = self._lost.get(recipe.digest, 0) + 1
        if lost >= VANISHED_LIMIT:
            message = f"The builders on the Ray cluster were lost {lost} times in a row with it."
            return Ready(recipe, StageError(message, stage="build", kind="crash", retryable=True))
        self._waiting.appendleft(recipe)
        return None


def _text(recipe: Recipe) -> str:
    return canonical_json(recipe.to_json()).decode()
