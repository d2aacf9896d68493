"""From a request to a search that is ready to run: everything that can be wrong is found out before any work."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..compress.compressor import Compressor
from ..compress.graph.graph import load_exporter
from ..compress.graph.network import Network
from ..compress.options import CompressorOptions, Int8Weights
from ..compress.recipe import Recipe
from ..errors import TargetUnavailable
from ..files import cache_folder
from ..profiles import SEARCH_TIMING, Environment, Profile
from ..results.limits import Constraints, require_reachable_size
from ..results.run_directory import RunDirectory, existing_runs, read_json, read_run
from ..targets.condition import power_mode_note, saturation_note
from ..targets.held_clocks import ClocksOfTargets
from ..targets.store import MeasurementStore
from ..tasks.check import CheckedTask, check_task
from ..tasks.load import load_task
from .evaluation.availability import Availability
from .evaluation.evaluate import Builder, Evaluator, StoredSplit
from .evaluation.further import format_of
from .evaluation.several import FoundTarget, environment_identity, load_targets
from .finalists import Finalists
from .latency.predict import predicted_if_away
from .request import SearchRequest
from .result import Result
from .run_facts import config_of, facts_of
from .rungs.recovery_process import CHECK_PREFIX
from .screen import Screen
from .search import Options, Search
from .session.budget import Budget, Ledger
from .session.clock import Clock
from .session.progress import Progress
from .space.joint_space import space_of
from .space.space import SearchSpace
from .space.warm import warm_recipes
from .strategy import strategy_of
from .study import SearchStudy

_CHECKED = "task.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A request whose task, targets and limits were found to be good. The first target is the primary one."""

    request: SearchRequest
    checked: CheckedTask
    targets: tuple[FoundTarget, ...]
    network: Network
    space: SearchSpace
    warm: tuple[Recipe, ...] = ()

    @property
    def profile(self) -> Profile:
        """The primary target's profile."""
        return self.targets[0].profile

    @property
    def environment(self) -> Environment:
        """The primary target's environment."""
        environment = self.targets[0].environment
        assert environment is not None
        return environment

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """The profiles of all targets."""
        return tuple(target.profile for target in self.targets)

    @property
    def target_names(self) -> str:
        """`cpu`, or `cpu,cpu-2t`."""
        return ",".join(target.profile.name for target in self.targets)

    @property
    def constraints(self) -> dict[str, Constraints]:
        """The limits by target, the primary one first; those of the request where a further target has none
        of its own.
        """
        own = {self.profile.name: self.request.constraints, **self.request.further}
        return {profile.name: own.get(profile.name, self.request.constraints) for profile in self.profiles}

    @property
    def directory(self) -> Path:
        """Where the run goes when none is there."""
        return self.request.directory(self.checked.task.name, self.target_names)


def prepare(
    request: SearchRequest,
    progress: Progress,
    *,
    planning: bool = False,
    clocks: ClocksOfTargets | None = None,
) -> Problem:
    """The request, checked without writing anything. Raises InputError or TargetUnavailable; a plan needs no
    target to answer.

    `clocks`, which outlive the search, set those of each target before anything is asked of it
    (`--set-clocks`).
    """
    asked = load_targets(request.target)
    if clocks is not None:
        asked = tuple(replace(target, clocks=clocks.of(target.profile, target.address)) for target in asked)
    profiles = tuple(target.profile for target in asked)
    names = ",".join(profile.name for profile in profiles)
    exporter = threading.Thread(target=load_exporter, daemon=True)
    exporter.start()
    progress.stage(f"loading the task {request.task}")
    task = load_task(request.task, request.arguments)
    progress.stage("checking the task")
    checked = check_task(task, known=_known_check(request.directory(task.name, names)))
    for note in checked.notes:
        progress.note(f"Note: {note}")
    request.constraints.limits(checked.baseline)
    progress.stage(f"asking the target {names}")
    targets = tuple(
        target.probe(needed=target is asked[0] and not planning, may_predict=request.allow_predicted)
        for target in asked
    )
    progress.stage("reading the model")
    exporter.join()
    largest: Int8Weights = (
        "float32" if any(profile.int8_weights == "float32" for profile in profiles) else "int8"
    )
    network = Network.trace(task.model, task.example_inputs).stored_as(
        largest
    )  # of several formats that with more bytes
    space = space_of(network, profiles, recovery=request.recovery)
    if request.allow_predicted:
        targets = tuple(
            predicted_if_away(
                found, network, space, batch=request.batch, needed=found is targets[0] and not planning
            )
            for found in targets
        )
    for target in targets:
        if target.away:
            meaning = (
                "the plan holds without it" if planning else "its measurements are queued, its limits open"
            )
            progress.note(f"Target '{target.profile.name}' is away: {meaning}. {target.away}")
        for told in (power_mode_note, saturation_note):
            if note := told(target.profile, target.environment):
                progress.note(f"Note: {note}")
        if target.prediction:
            progress.note(
                f"Latencies on '{target.profile.name}' are predicted, not measured: {target.prediction.source}."
            )
    warm = () if request.warm_start is None else tuple(warm_recipes(read_run(request.warm_start), space))
    if request.warm_start is not None and not warm:
        progress.note(f"Note: nothing on the front of {request.warm_start} has a counterpart in this model.")
    problem = Problem(
        request=request, checked=checked, targets=targets, network=network, space=space, warm=warm
    )
    for profile in problem.profiles:
        smallest = space.smallest_bytes(network.stored_as(profile.int8_weights))
        require_reachable_size(problem.constraints[profile.name].max_size_bytes, smallest)
    return problem


def _known_check(path: Path) -> dict[str, Any] | None:
    """What an earlier session found out about its task; it is used only if the digest is still the same."""
    return next(
        (known for run in existing_runs(path) if (known := read_json(run / _CHECKED)) is not None), None
    )


@contextmanager
def open_search(problem: Problem, progress: Progress) -> Iterator[Search]:
    """The search in its run directory, which it owns meanwhile. Raises InputError."""
    request = problem.request
    with RunDirectory.open(problem.directory, config_of(problem), fresh=request.fresh) as directory:
        _announce(directory, problem, progress)
        directory.write_json(_CHECKED, problem.checked.to_json())
        compressor = make_compressor(problem, cache_dir=directory.path / "cache")
        for left in (directory.path / "cache").glob(
            f"{CHECK_PREFIX}*"
        ):  # of a recovery that nobody collected
            left.unlink(missing_ok=True)
        with splits_folder(directory) as splits:
            search = _search(problem, directory, compressor, progress, splits)
            try:
                yield search
            finally:
                search.evaluator.close()
        if compressor.students.uses_database:
            progress.note(f"Level database: {compressor.students.database.describe()}.")


@contextmanager
def splits_folder(directory: RunDirectory) -> Iterator[Path]:
    """A folder for the splits that workers read, gone at the end: they are as large as the data."""
    splits = directory.path / "inputs"
    splits.mkdir(exist_ok=True)
    try:
        yield splits
    finally:
        shutil.rmtree(splits, ignore_errors=True)


def _announce(directory: RunDirectory, problem: Problem, progress: Progress) -> None:
    if directory.resumed:
        progress.note(f"Continuing the run in {directory.path}.")
    elif directory.changed:
        changed, old = ", ".join(directory.changed), problem.directory
        if directory.changed == ("target",):
            changed = "it is a run on other targets, or on these in another order"
            progress.note(
                f"{old} cannot be continued ({changed}): starting {directory.path}. --from {old} tries its front first."
            )
        else:
            progress.note(f"{old} cannot be continued ({changed} changed): starting {directory.path}.")
    directory.log(
        "opened", resumed=directory.resumed, changed=directory.changed, command=problem.request.command
    )


def make_compressor(problem: Problem, *, cache_dir: Path | None) -> Compressor:
    """The compressor of a run; templates are kept in `cache_dir`, the level database in the user's cache
    folder.
    """
    form, *others = dict.fromkeys(format_of(target.profile) for target in problem.targets)
    options = CompressorOptions(format=form, further=tuple(others), seed=problem.request.seed)
    return Compressor(
        problem.checked.task, problem.network, options, cache_dir=cache_dir, levels_dir=levels_folder()
    )


def levels_folder() -> Path:
    """Where the level databases of all tasks are: runs on the same task share one."""
    return cache_folder() / "levels"


def make_evaluator(
    problem: Problem,
    directory: RunDirectory,
    splits: Path,
    compressor: Builder,
    *,
    elapsed: Callable[[], float],
    progress: Progress,
) -> Evaluator:
    """The evaluator of a run's candidates; it keeps artifacts and measurements in the run directory."""
    task = problem.checked.task
    progress.stage("reading the validation split")
    validation = StoredSplit(task.validation, splits / "validation.npz")
    store = MeasurementStore(directory.measurements)
    first, *others = problem.targets
    target = first.open(store, validation)
    further = [
        other.open(store, validation, recognize=partial(_recognize, directory, other.profile.name))
        for other in others
    ]
    availability = Availability()
    for found in problem.targets:
        if found.away:
            availability.gone(found.profile.name, found.away)
    return Evaluator(
        network=problem.network,
        compressor=compressor,
        target=target,
        metric=task.metric,
        validation=validation,
        artifacts=directory.artifacts,
        timing=SEARCH_TIMING.with_batch(problem.request.batch),
        elapsed=elapsed,
        further=tuple(further),
        availability=availability,
        patience=first.patience,
    )


def _recognize(directory: RunDirectory, name: str, environment: Environment) -> None:
    """Keeps the environment of a target that was away in run.toml. TargetUnavailable when another one is
    there.
    """
    if changed := directory.learn(dict(environment_identity(environment, prefix=f"{name} "))):
        raise TargetUnavailable(
            f"Target '{name}' came back as another one ({', '.join(changed)} changed): restore it, or search again with --fresh."
        )


def _search(
    problem: Problem, directory: RunDirectory, compressor: Compressor, progress: Progress, splits: Path
) -> Search:
    request, task = problem.request, problem.checked.task
    clock = Clock(directory.elapsed)
    evaluator = make_evaluator(
        problem, directory, splits, compressor, elapsed=lambda: clock.elapsed_s, progress=progress
    )
    sizes: dict[Int8Weights, int] = {}
    for profile in problem.profiles:
        if (limit := problem.constraints[profile.name].max_size_bytes) is not None:
            sizes[profile.int8_weights] = min(limit, sizes.get(profile.int8_weights, limit))
    further = dict(list(problem.constraints.items())[1:])
    slow = {name: item.max_latency_s for name, item in further.items() if item.max_latency_s is not None}
    finalists = Finalists(
        directory, evaluator, StoredSplit(task.test, splits / "test.npz"), batch=request.batch
    )
    return Search(
        space=problem.space,
        study=SearchStudy.open(directory.study, sampler=request.sampler, seed=request.seed),
        evaluator=evaluator,
        screen=Screen(
            network=problem.network, latency_s=request.constraints.max_latency_s, further=slow, sizes=sizes
        ),
        result=Result(
            metric=task.metric,
            constraints=request.constraints,
            uniform_digest=problem.space.uniform_int8().digest,
            evaluations=[],
            known=finalists.known,
            target=problem.profile.name,
            further=further,
        ),
        finalists=finalists,
        directory=directory,
        clock=clock,
        options=Options(budget_s=request.budget_s, trials=request.trials),
        progress=progress,
        facts=facts_of(problem),
        strategy=strategy_of(request, compressor, evaluator, directory, warm=problem.warm),
        budget=Budget(total_s=request.budget_s, recovery=request.recovery),
        ledger=Ledger.open(directory, clock),
    )
