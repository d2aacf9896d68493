"""Plan: what `autocompress search --dry-run` shows, without building or writing anything."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...compress.compressor import Compressor
from ...compress.graph.graph import layer_name
from ...compress.graph.network import Network
from ...compress.recipe import Precision, Recipe
from ...profiles import Profile, format_duration, format_size
from ...results.run_directory import choose_run
from ...text.printable import printable
from ..session.budget import Budget, budget_line
from ..space.joint_space import RuledOut, ruled_out_by
from ..space.legality import RuledOutLevels, ruled_out_levels
from ..space.seeds import first_recipes
from ..space.space import Excluded
from .checked_request import CheckedRequest
from .drop_scale import require_drop_scale
from .estimate import estimate
from .memory import memory_plan
from .open_search import make_compressor, runtime_choice
from .run_facts import config_of

DETERMINISTIC = (
    "Deterministic: candidates are chosen by fixed latencies, one after the other, the same each time on "
    "this machine. The front is made of measured latencies; a limit on the latency judges it alone."
)
MOST_NAMED = 6  # of what is not compressed; all reasons follow below


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedGroup:
    """A channel group, its keep levels, and how many channel counts the targets rule out."""

    name: str
    channels: int
    levels: tuple[int, ...]
    layers: tuple[str, ...]
    ruled_out: int

    def __str__(self) -> str:
        levels = " ".join(map(str, self.levels))
        others = len(self.layers) - 1
        more = f" (coupled with {others} more layer{'s' if others > 1 else ''})" if others else ""
        return f"{self.name}{more}: {levels}; {self.ruled_out} other counts ruled out"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBlock:
    """A residual block that can be removed."""

    name: str
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCompressed:
    """What keeps its float32 bytes in every recipe that leaves it in."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The search space of a request, what its targets rule out, and the time that it takes (estimated).

    `runtimes` are those of one device by target, with the reason of one that is left out; empty of targets
    which a candidate has to serve all.
    """

    task: str
    outputs: tuple[str, ...]
    derived_outputs: bool
    baseline: float
    target: str
    space_size: int
    dimensions: int
    macs: int
    parameters: int
    float32_bytes: int
    smallest_bytes: int
    not_compressed: tuple[NotCompressed, ...]
    groups: tuple[PlannedGroup, ...]
    ruled_out_reason: str
    ruled_out_levels: Mapping[str, tuple[RuledOutLevels, ...]]
    ruled_out_by: tuple[RuledOut, ...]
    int8_layers: tuple[str, ...]
    precisions: Mapping[str, tuple[Precision, ...]]
    blocks: tuple[PlannedBlock, ...]
    ranks: Mapping[str, tuple[int, ...]]
    fusable: bool
    used_rows: Mapping[str, int]
    resolutions: tuple[tuple[int, int], ...]
    excluded: tuple[Excluded, ...]
    first_recipes: int
    candidate_s: float
    estimated_s: float
    estimated_trials: int
    memory_bytes: int
    memory_limit_bytes: int
    plan: Mapping[str, float | None]
    deterministic: bool
    level_database: str
    directory: str
    continues: bool
    runtimes: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """A JSON value for `--dry-run --json`."""
        return asdict(self) | {
            "ruled_out_by": {rule.target: list(rule.reasons) for rule in self.ruled_out_by}
        }

    def __str__(self) -> str:
        return "\n".join(map(printable, [*_space_lines(self), *_part_lines(self), "", *_time_lines(self)]))


def plan_of(checked: CheckedRequest) -> Plan:
    """The plan of a request whose task, targets and limits were found to be good."""
    request, space, network = checked.request, checked.space, checked.network
    require_drop_scale(checked)
    compressor = make_compressor(checked, cache_dir=None)
    compressor.require_writable()
    estimated = estimate(checked, compressor)
    budget, memory = Budget(total_s=request.budget_s, recovery=request.recovery), memory_plan(checked)
    trials = request.trials or estimated.trials(budget) or 0
    directory, continues, _ = choose_run(checked.directory, config_of(checked), fresh=request.fresh)
    return Plan(
        task=checked.checked.task.name,
        outputs=checked.checked.output_texts,
        derived_outputs=checked.checked.derived_outputs,
        baseline=checked.checked.baseline,
        target=checked.target_names,
        space_size=space.size,
        dimensions=space.dimensions,
        macs=network.macs,
        parameters=network.parameters,
        float32_bytes=network.cost(Recipe()).weight_bytes,
        smallest_bytes=space.smallest_bytes(network),
        not_compressed=not_compressed(network, space.precisions),
        groups=_groups(checked),
        ruled_out_reason=_multiples(checked.profiles),
        ruled_out_levels={profile.name: ruled_out_levels(profile) for profile in checked.profiles},
        ruled_out_by=() if checked.runtimes else tuple(ruled_out_by(network, checked.profiles)),
        int8_layers=space.quantizable,
        precisions=space.precisions,
        blocks=tuple(PlannedBlock(name=name, layers=layers) for name, layers in space.blocks.items()),
        ranks=space.ranks,
        fusable=space.fusable,
        used_rows={name: len(used.rows) for name, used in network.used_rows.items()},
        resolutions=space.resolutions,
        excluded=space.excluded,
        first_recipes=len(first_recipes(space)),
        candidate_s=estimated.candidate_s,
        estimated_s=request.budget_s or estimated.seconds(trials, recovery=request.recovery),
        estimated_trials=trials,
        memory_bytes=memory.needed,
        memory_limit_bytes=memory.limit,
        plan=budget.to_json() if request.sampler == "front" and not request.deterministic else {},
        deterministic=request.deterministic,
        level_database=compressor.students.database.describe(),
        directory=str(directory),
        continues=continues,
        runtimes=_runtimes(checked, compressor),
    )


def _runtimes(checked: CheckedRequest, compressor: Compressor) -> dict[str, str]:
    choice = runtime_choice(checked, compressor)
    if choice is None:
        return {}
    away = {target.profile.name: f"away: {target.away}" for target in checked.targets if target.away}
    reasons = away | {name: f"left out: {reason}" for name, reason in choice.unusable.items()}
    return {profile.name: reasons.get(profile.name, profile.facts.title) for profile in checked.profiles}


def not_compressed(
    network: Network, precisions: Mapping[str, tuple[Precision, ...]]
) -> tuple[NotCompressed, ...]:
    """Layers without another precision and weights that are no layer's, the largest first; then the vectors
    and buffers together.
    """
    sizes = {
        layer.name: layer.bytes for layer in network.cost(Recipe()).layers if layer.name not in precisions
    }
    sizes |= {layer_name(one.names[0]): one.bytes for one in network.rest if one.reason and one.trained}
    listed = [NotCompressed(name=name, bytes=size) for name, size in sizes.items()]
    listed.sort(key=lambda one: -one.bytes)
    small = sum(one.bytes for one in network.rest if not (one.reason and one.trained))
    if small:
        listed.append(NotCompressed(name="vectors and buffers outside the layers", bytes=small))
    return tuple(listed)


def _groups(checked: CheckedRequest) -> tuple[PlannedGroup, ...]:
    space = checked.space
    return tuple(
        PlannedGroup(
            name=group.name,
            channels=group.channels,
            levels=group.levels,
            layers=group.layers,
            ruled_out=space.ruled_out.get(group.name, 0),
        )
        for group in space.groups
    )


def _space_lines(plan: Plan) -> list[str]:
    size = plan.space_size
    count = f"{size:,}" if size < 10**15 else f"about 10^{len(str(size)) - 1}"
    parts = [f"{len(plan.groups)} channel groups", f"{len(plan.int8_layers)} int8 layers"]
    parts += [f"{len(plan.blocks)} removable blocks"] if plan.blocks else []
    parts += [f"{len(plan.ranks)} layers with ranks"] if plan.ranks else []
    return [
        f"Task {plan.task} on target {plan.target}: the original scores {plan.baseline:.4g}.",
        *_runtime_lines(plan),
        _outputs_line(plan),
        f"Search space: {count} recipes in {plan.dimensions} parameters ({', '.join(parts)}, recovery).",
        f"Weights: {format_size(plan.float32_bytes)} in float32, "
        f"at least {format_size(plan.smallest_bytes)} in any recipe.",
        *_not_compressed_lines(plan),
        "",
    ]


def _runtime_lines(plan: Plan) -> list[str]:
    """Which runtimes take part."""
    if not plan.runtimes:
        return []
    parts = ", ".join(f"{name} ({what})" for name, what in plan.runtimes.items())
    return [f"One device, one front: {parts}. A candidate is measured in the runtimes that may win."]


def _not_compressed_lines(plan: Plan) -> list[str]:
    if not plan.not_compressed:
        return []
    parts = [f"{format_size(one.bytes)} in {one.name}" for one in plan.not_compressed[:MOST_NAMED]]
    others = plan.not_compressed[MOST_NAMED:]
    if others:
        parts.append(f"{format_size(sum(one.bytes for one in others))} in {len(others)} more")
    return [f"Not compressed: {', '.join(parts)}."]


def _outputs_line(plan: Plan) -> str:
    """What the outputs mean, on which the distance of answers depends, and how to say it otherwise."""
    source = "as the loss reacts; if that is wrong, say outputs=… in the task" if plan.derived_outputs else ""
    texts = "; ".join(plan.outputs)
    return f"Outputs: {texts}{f' ({source})' if source else ''}."


def _part_lines(plan: Plan) -> list[str]:
    """Groups, precisions, blocks and ranks, and what is ruled out."""
    lines = ["Channel groups and their keep levels:", *(f"  {group}" for group in plan.groups)]
    lines += [f"  (other counts are ruled out: {plan.ruled_out_reason})", "", _precisions_line(plan)]
    for target, levels in plan.ruled_out_levels.items():
        rules = f"Levels that target {target} rules out:"
        lines.append(rules if levels else f"Target {target} rules out no level.")
        lines += [f"  {', '.join(rule.levels)}: {rule.reason}" for rule in levels]
    lines += [f"Target {rule.target} rules out {'; '.join(rule.reasons)}." for rule in plan.ruled_out_by]
    if plan.blocks:
        lines += ["", "Blocks that can be removed:"]
        lines += [f"  {block.name}: {' '.join(block.layers)}" for block in plan.blocks]
    if plan.ranks:
        lines += ["", "Layers that can be a product of two, and its ranks:"]
        lines += [f"  {name}: {' '.join(map(str, ranks))}" for name, ranks in plan.ranks.items()]
    if plan.fusable:
        lines += [
            "",
            "Attention, rotary positions and root mean square normalizations may be one node each (fused).",
        ]
    if plan.used_rows:
        tables = ", ".join(f"{name} {count} rows" for name, count in plan.used_rows.items())
        lines += ["", f"Of tables, the rows that the task says to be read may be all: {tables}."]
    if plan.resolutions:
        sizes = ", ".join(f"{height} × {width}" for height, width in plan.resolutions)
        lines += ["", f"Images may be resized in the file, in front of the model, to {sizes}."]
    if plan.excluded:
        lines += ["", "Left alone:", *(f"  {each.name}: {each.reason}" for each in plan.excluded)]
    return lines


def _time_lines(plan: Plan) -> list[str]:
    place = f"The run would be in {plan.directory}."
    return [
        f"Estimated: ~{format_duration(plan.candidate_s)} a candidate, "
        f"~{plan.estimated_trials} candidates in ~{format_duration(plan.estimated_s)} "
        f"(the original, uniform int8 and {plan.first_recipes - 2} chosen ones first).",
        f"Memory: about {format_size(plan.memory_bytes)} of at most {format_size(plan.memory_limit_bytes)}.",
        *([f"Plan: {budget_line(plan.plan)}."] if plan.plan else []),
        *([DETERMINISTIC] if plan.deterministic else []),
        f"Level database: {plan.level_database}.",
        f"The run in {plan.directory} would be continued." if plan.continues else place,
    ]


def _multiples(profiles: Sequence[Profile]) -> str:
    """`target 'cpu' wants multiples of 8 channels`, for each target."""
    wishes = (
        f"target '{profile.name}' wants multiples of {profile.channel_multiple} channels"
        for profile in profiles
    )
    return ", ".join(wishes)


def _precisions_line(plan: Plan) -> str:
    """`Precisions: float32 int8 int4 for 19 layers; float32 int8 for 2 layers`: one entry for each list."""
    if not plan.precisions:
        return "Precisions: float32 for every layer."
    counts = Counter(" ".join(choices) for choices in plan.precisions.values())
    parts = [f"{names} for {count} layer{'s' if count > 1 else ''}" for names, count in counts.items()]
    return f"Precisions: {'; '.join(parts)}."
