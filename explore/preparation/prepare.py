"""From a request to a checked one: everything that can be wrong is found out before any work."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...compress.graph.network import Network
from ...compress.graph.tracing.trace import load_exporter
from ...compress.options import Int8Weights
from ...compress.recipe import Recipe
from ...errors import InputError, RunDirectoryError
from ...evaluation.targets import FoundTarget, NamedTarget, load_targets, require_one
from ...profiles import Profile
from ...results.limits import Constraints, require_reachable_size
from ...results.run_directory import existing_runs, read_json, read_run
from ...targets.doctor.condition import power_mode_note, saturation_note
from ...targets.held_clocks import ClocksOfTargets
from ...targets.lease import own_s
from ...tasks.check import CheckedTask, check_task
from ...tasks.load import load_task
from ...tasks.task import Task
from ..beside.ray_cluster import require_cluster
from ..latency.predict import predicted_if_away
from ..session.device import chosen_device
from ..session.memory import limit_of
from ..session.progress import Progress
from ..space.joint_space import space_of
from ..space.runtimes import RuntimeSpaces
from ..space.space import SearchSpace
from ..space.warm import warm_recipes
from .checked_request import CHECKED_TASK, CheckedRequest
from .measured_sizes import at_sizes, measured_sizes
from .request import SearchRequest


def prepare(
    request: SearchRequest,
    progress: Progress,
    *,
    task: Task | None = None,
    planning: bool = False,
    clocks: ClocksOfTargets | None = None,
) -> CheckedRequest:
    """The request, checked without writing anything. Raises InputError or TargetUnavailable; a plan needs no
    target to answer.

    `task` is one that exists already, instead of that of the request's text.
    `clocks`, which outlive the search, set those of each target before anything is asked of it
    (`--set-clocks`).
    """
    began_s, memory_bytes = own_s(), limit_of(request.memory_bytes)
    here = request.device
    if request.ray and here.startswith("cuda"):
        here = "auto"  # a GPU that the cluster has to have
    device = chosen_device(here, progress, deterministic=request.deterministic)
    named = _named(request, clocks)
    on_nodes = [target.address for target in named if target.address.on_cluster]
    if request.ray and not (planning and not on_nodes):
        require_cluster(request.ray, measured=on_nodes)
    exporter = threading.Thread(target=load_exporter, daemon=True)
    exporter.start()
    checked = _checked(request, named, progress, task, device=device)
    request = _at_batch(request, checked.task)
    sizes = measured_sizes(checked, request.shapes, [target.profile for target in named])
    checked = replace(checked, task=at_sizes(checked.task, sizes))
    targets = tuple(replace(target, sizes=sizes).probe() for target in named)
    if not (planning or request.allow_predicted):
        require_one(targets)
    progress.stage("reading the model")
    exporter.join()
    profiles = tuple(target.profile for target in targets)
    network = _traced(checked.task, profiles)
    runtimes = None
    if request.alternatives:
        runtimes = RuntimeSpaces.of(network, profiles, recovery=request.recovery)
    space = runtimes.widest if runtimes else space_of(network, profiles, recovery=request.recovery)
    if request.allow_predicted:
        targets = _predicted(targets, network, space, batch=request.batch, planning=planning)
    for target in targets:
        _note_state(target, progress, planning=planning)
    warm = _warm(request, space, progress)
    prepared = CheckedRequest(
        request=request,
        checked=checked,
        targets=targets,
        network=network,
        space=space,
        runtimes=runtimes,
        warm=warm,
        began_s=began_s,
        memory_bytes=memory_bytes,
        device=device,
    )
    _require_sizes(prepared)
    return prepared


def _named(request: SearchRequest, clocks: ClocksOfTargets | None) -> tuple[NamedTarget, ...]:
    named = load_targets(request.target, cluster=request.ray)
    if clocks is None:
        return named
    return tuple(replace(target, clocks=clocks.of(target.profile, target.address)) for target in named)


def _checked(
    request: SearchRequest,
    named: Sequence[NamedTarget],
    progress: Progress,
    task: Task | None,
    *,
    device: str,
) -> CheckedTask:
    """The task, loaded and checked, and the limits checked against it."""
    names = ",".join(target.profile.name for target in named)
    if task is None:
        progress.stage(f"loading the task {request.task}")
        task = load_task(request.task, request.arguments)
    progress.stage("checking the task")
    earlier = _earlier_check(request.directory(task.name, names), progress)
    checked = check_task(task, earlier=earlier, device=device)
    for note in checked.notes:
        progress.note(f"Note: {note}")
    for limits in request.constraints.values():
        limits.require_unit(task.metric.name, task.metric.unit)
        limits.limits(checked.baseline)
    progress.stage(f"asking the target {names}")
    return checked


def _at_batch(request: SearchRequest, task: Task) -> SearchRequest:
    """The request with the batch size of a model that takes one only. InputError if it asks for another."""
    if not isinstance(task.batch, int) or request.batch == task.batch:
        return request
    if request.batch != 1:
        raise InputError(
            f"--batch {request.batch} cannot be measured, the model takes batches of {task.batch} only: "
            "leave --batch out."
        )
    return replace(request, batch=task.batch)


def _earlier_check(path: Path, progress: Progress) -> dict[str, Any] | None:
    """What an earlier session found out about its task; it is used only if the digest is still the same."""
    for run in existing_runs(path):
        try:
            earlier = read_json(run / CHECKED_TASK)
        except RunDirectoryError:
            progress.note(f"Note: {run / CHECKED_TASK} is damaged: the task is checked again.")
            continue
        if earlier is not None:
            return earlier
    return None


def _traced(task: Task, profiles: Sequence[Profile]) -> Network:
    """The network, its costs those of the format with most bytes."""
    largest: Int8Weights = "int8"
    if any(profile.int8_weights == "float32" for profile in profiles):
        largest = "float32"
    network = Network.trace(
        task.model,
        task.example_inputs,
        task.dynamic,
        resolutions=task.resolutions,
        used_tokens=task.used_tokens,
    )
    return network.stored_as(largest)


def _predicted(
    targets: Sequence[FoundTarget], network: Network, space: SearchSpace, *, batch: int, planning: bool
) -> tuple[FoundTarget, ...]:
    """The targets, those that are away with a prediction where there is one. One is needed."""
    predicted = tuple(
        predicted_if_away(target, network, space, batch=batch, needed=False) for target in targets
    )
    if not planning and all(target.away for target in predicted):
        predicted_if_away(predicted[0], network, space, batch=batch, needed=True)
    return predicted


def _note_state(target: FoundTarget, progress: Progress, *, planning: bool) -> None:
    """Tells the user what is special about a target."""
    name = target.profile.name
    if target.away:
        meaning = "its measurements are queued, its limits open"
        if planning:
            meaning = "the plan holds without it"
        progress.note(f"Target '{name}' is away: {meaning}. {target.away}")
    for note_of in (power_mode_note, saturation_note):
        note = note_of(target.profile, target.environment)
        if note:
            progress.note(f"Note: {note}")
    if target.prediction:
        progress.note(f"Latencies on '{name}' are predicted, not measured: {target.prediction.source}.")


def _warm(request: SearchRequest, space: SearchSpace, progress: Progress) -> tuple[Recipe, ...]:
    """The recipes of the earlier run that the user named."""
    if request.warm_start is None:
        return ()
    warm = tuple(warm_recipes(read_run(request.warm_start), space))
    if not warm:
        progress.note(f"Note: nothing on the front of {request.warm_start} has a counterpart in this model.")
    return warm


def _require_sizes(checked: CheckedRequest) -> None:
    for profile in checked.profiles:
        limits: Constraints = checked.constraints[profile.name]
        smallest = checked.space.smallest_bytes(checked.network.stored_as(profile.int8_weights))
        require_reachable_size(limits.max_size_bytes, smallest)
