"""Plan: what `autocompress search --dry-run` tells, without building or writing anything."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from ..compress.recipe import Recipe
from ..profiles import SEARCH_TIMING, Profile, format_duration, format_size
from ..results.run_directory import choose_run
from ..tasks.data import sample_count
from .prepare import Problem, make_compressor
from .run_facts import config_of
from .session.budget import Budget, budget_line
from .space.joint_space import ruled_out_by
from .space.legality import ruled_out_levels
from .space.seeds import first_recipes
from .space.space import STEPS

_FIXED_S = 1.5  # worker process, build, bookkeeping
_TRAINING_BATCH = 128
_STEP_COST = 4.0  # a training step in forward passes: teacher, student, backward


def plan_json(problem: Problem) -> dict[str, Any]:
    """The plan as a JSON value: space, groups and levels, precisions, blocks, ranks, exclusions, estimated
    seconds.
    """
    space, network = problem.space, problem.network
    candidate_s = estimated_seconds(problem)
    request = problem.request
    count = request.trials or (int(request.budget_s / candidate_s) if request.budget_s else None)
    return {
        "task": problem.checked.task.name,
        "baseline": problem.checked.baseline,
        "target": problem.target_names,
        "space_size": space.size,
        "dimensions": space.dimensions,
        "macs": network.macs,
        "parameters": network.parameters,
        "float32_bytes": network.cost(Recipe()).weight_bytes,
        "smallest_bytes": space.smallest_bytes(network),
        "groups": [
            {
                "name": group.name,
                "channels": group.channels,
                "levels": list(group.levels),
                "layers": list(group.layers),
                "ruled_out": space.ruled_out.get(group.name, 0),
            }
            for group in space.groups
        ],
        "ruled_out_reason": _multiples(problem.profiles),
        "ruled_out_levels": {
            profile.name: [asdict(found) for found in ruled_out_levels(profile)]
            for profile in problem.profiles
        },
        "ruled_out_by": {item.target: list(item.reasons) for item in ruled_out_by(network, problem.profiles)},
        "int8_layers": list(space.quantizable),
        "precisions": {name: list(found) for name, found in space.precisions.items()},
        "blocks": [{"name": name, "layers": list(layers)} for name, layers in space.blocks.items()],
        "ranks": {name: list(found) for name, found in space.ranks.items()},
        "excluded": [{"name": item.name, "reason": item.reason} for item in space.excluded],
        "first_recipes": len(first_recipes(space)),
        "candidate_s": candidate_s,
        "estimated_s": request.budget_s or (count or 0) * candidate_s,
        "estimated_trials": count,
        "plan": budget_of(problem),
        "level_database": level_database(problem),
        **_place(problem),
    }


def _place(problem: Problem) -> dict[str, Any]:
    """Where the run would be, and whether one is there that would be continued."""
    directory, continues, _ = choose_run(problem.directory, config_of(problem), fresh=problem.request.fresh)
    return {"directory": str(directory), "continues": continues}


def budget_of(problem: Problem) -> dict[str, float | None]:
    """How the time will be divided; empty for samplers that measure one candidate after the other."""
    request = problem.request
    return (
        Budget(total_s=request.budget_s, recovery=request.recovery).to_json()
        if request.sampler == "front"
        else {}
    )


def level_database(problem: Problem) -> str:
    """How large the level database of the task is by now, and where."""
    compressor = make_compressor(problem, cache_dir=None)
    return compressor.students.database.describe()


def estimated_seconds(problem: Problem) -> float:
    """A rough prediction of the seconds that an average candidate takes, from one timed forward pass."""
    task = problem.checked.task
    inputs = tuple(tensor.repeat(32, *[1] * (tensor.dim() - 1))[:32] for tensor in task.example_inputs)
    with torch.inference_mode():
        task.model(*inputs)
        start = time.perf_counter()
        task.model(*inputs)
    sample_s = (time.perf_counter() - start) / len(inputs[0])
    validate_s = sample_s * (sample_count(task.validation) or 1000)
    measure_s = (
        len(problem.targets) * SEARCH_TIMING.pairs_min * (SEARCH_TIMING.pair_s + 2 * SEARCH_TIMING.warmup_s)
    )
    recover_s = (
        sum(STEPS) / len(STEPS) * _TRAINING_BATCH * sample_s * _STEP_COST / 2
    )  # half of the candidates recover
    return _FIXED_S + validate_s + measure_s + recover_s


def plan_text(plan: dict[str, Any]) -> str:
    """The plan for a person."""
    size = plan["space_size"]
    lines = [
        f"Task {plan['task']} on target {plan['target']}: the original scores {plan['baseline']:.4g}.",
        f"Search space: {_count(size)} recipes in {plan['dimensions']} parameters ({_counts(plan)}, recovery).",
        f"Weights: {format_size(plan['float32_bytes'])} in float32, at least {format_size(plan['smallest_bytes'])} in any recipe.",
        "",
        "Channel groups and their keep levels:",
        *(f"  {_group_line(group)}" for group in plan["groups"]),
        f"  (other counts are ruled out: {plan['ruled_out_reason']})",
        "",
        _precisions_line(plan["precisions"]),
        *_ruled_out_lines(plan["ruled_out_levels"]),
        *(f"Target {name} rules out {'; '.join(reasons)}." for name, reasons in plan["ruled_out_by"].items()),
    ]
    if plan["blocks"]:
        lines += [
            "",
            "Blocks that can be removed:",
            *(f"  {block['name']}: {' '.join(block['layers'])}" for block in plan["blocks"]),
        ]
    if plan["ranks"]:
        lines += ["", "Layers that can be a product of two, and its ranks:"]
        lines += [f"  {name}: {' '.join(map(str, ranks))}" for name, ranks in plan["ranks"].items()]
    if plan["excluded"]:
        lines += ["", "Left alone:", *(f"  {item['name']}: {item['reason']}" for item in plan["excluded"])]
    lines += [
        "",
        f"Estimated: ~{format_duration(plan['candidate_s'])} a candidate, ~{plan['estimated_trials']} candidates in "
        f"~{format_duration(plan['estimated_s'])} (the original, uniform int8 and {plan['first_recipes'] - 2} chosen ones first).",
        *([f"Plan: {budget_line(plan['plan'])}."] if plan["plan"] else []),
        f"Level database: {plan['level_database']}.",
        f"The run in {plan['directory']} would be continued."
        if plan["continues"]
        else f"The run would be in {plan['directory']}.",
    ]
    return "\n".join(lines)


def _multiples(profiles: Sequence[Profile]) -> str:
    """`target 'cpu' wants multiples of 8 channels`, for each target."""
    return ", ".join(
        f"target '{profile.name}' wants multiples of {profile.channel_multiple} channels"
        for profile in profiles
    )


def _counts(plan: dict[str, Any]) -> str:
    """`9 channel groups, 22 int8 layers, 9 removable blocks`; what the model does not have is left out,
    groups and layers aside.
    """
    counts = [f"{len(plan['groups'])} channel groups", f"{len(plan['int8_layers'])} int8 layers"]
    named = {"blocks": "removable blocks", "ranks": "layers with ranks"}
    counts += [f"{len(plan[key])} {name}" for key, name in named.items() if plan[key]]
    return ", ".join(counts)


def _precisions_line(precisions: dict[str, list[str]]) -> str:
    """`Precisions: float32 int8 int4 for 19 layers; float32 int8 for 2 layers`: one entry for each list of
    precisions.
    """
    if not precisions:
        return "Precisions: float32 for every layer."
    counts = Counter(" ".join(found) for found in precisions.values())
    return (
        "Precisions: "
        + "; ".join(f"{found} for {n} layer{'s' if n > 1 else ''}" for found, n in counts.items())
        + "."
    )


def _ruled_out_lines(levels: dict[str, list[dict[str, Any]]]) -> list[str]:
    """`Levels that target cpu rules out:` and a line for each reason."""
    lines = []
    for target, found in levels.items():
        lines.append(
            f"Levels that target {target} rules out:" if found else f"Target {target} rules out no level."
        )
        lines += [f"  {', '.join(item['levels'])}: {item['reason']}" for item in found]
    return lines


def _group_line(group: dict[str, Any]) -> str:
    levels = " ".join(map(str, group["levels"]))
    others = len(group["layers"]) - 1
    more = f" (coupled with {others} more layer{'s' if others > 1 else ''})" if others else ""
    return f"{group['name']}{more}: {levels}; {group['ruled_out']} other counts ruled out"


def _count(size: int) -> str:
    """The exact number up to 10^15, a power of ten with the number of digits beyond."""
    return f"{size:,}" if size < 10**15 else f"about 10^{len(str(size)) - 1}"
