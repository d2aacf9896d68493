"""What a run is: what must not change to continue it (run.toml); what is known before its first candidate."""

from pathlib import Path
from typing import Any

from ...results.records.facts import ExclusionFacts, GroupFacts, LayerFacts, MetricFacts, RunFacts, TaskFacts
from ...results.records.run import SCHEMA_VERSION
from ...results.run_config import RunConfig, folder_options
from ...tasks.identity import data_digest, model_digest
from ...text.printable import json_text
from ...text.secrets import stored_arguments, stored_command
from . import deterministic
from .checked_request import CheckedRequest
from .request import SearchRequest


def config_of(checked: CheckedRequest) -> RunConfig:
    """What must be unchanged to continue the run, by the names that a user is told, and the options of this
    call.
    """
    request, task = checked.request, checked.checked.task
    identity = {
        "format": str(SCHEMA_VERSION),
        "task": task.name,
        "model": model_digest(task.model),
        "data": data_digest(task),
        "task definition": checked.checked.digest,
        "target": checked.target_names,
        "batch": str(request.batch),
    }
    if (sizes := checked.targets[0].sizes) is not None:
        identity["shape"] = sizes.text
    if request.validation_samples is not None:
        identity["validation samples"] = str(request.validation_samples)
    for target in checked.targets:
        identity |= dict(target.identity())
    if request.alternatives:
        identity["targets are"] = "runtimes of one device"
    identity |= deterministic.identity(checked)
    return RunConfig(identity=identity, options=_options(request))


def _options(request: SearchRequest) -> dict[str, Any]:
    options = {
        "spec": request.task,
        "target": request.target,
        "arguments": json_text(stored_arguments(request.arguments)),
        "sampler": request.sampler,
        "recovery": request.recovery,
        "warm_start": None if request.warm_start is None else str(request.warm_start),
        "seed": request.seed,
        "budget_s": request.budget_s,
        "memory_bytes": request.memory_bytes,
        "device": request.device,
        "ray": request.ray,
        "trials": request.trials,
        "deterministic": request.deterministic,
        "command": stored_command(request.command),
        **folder_options(Path.cwd()),
    }
    for name, limits in request.constraints.items():
        options |= {
            f"{name} max_drop": None if limits.max_drop is None else str(limits.max_drop),
            f"{name} max_latency_s": limits.max_latency_s,
            f"{name} max_size_bytes": limits.max_size_bytes,
            f"{name} max_energy_j": limits.max_energy_j,
        }
    return options


def facts_of(checked: CheckedRequest) -> RunFacts:
    """What is known of the run before its first candidate."""
    request, space, constraints = checked.request, checked.space, checked.constraints
    return RunFacts(
        task=_task_facts(checked),
        targets=tuple(
            target.facts(constraints[target.profile.name], batch=request.batch) for target in checked.targets
        ),
        command=request.command,
        sampler=request.sampler,
        seed=request.seed,
        layers=tuple(
            LayerFacts(
                name=layer.name,
                kind=layer.kind,
                channels=layer.channels_out,
                macs=layer.macs,
                parameters=layer.parameters,
            )
            for layer in checked.network.layers
        ),
        groups=tuple(
            GroupFacts(
                name=group.name, channels=group.channels, layers=tuple(group.layers), levels=group.levels
            )
            for group in space.groups
        ),
        excluded=tuple(ExclusionFacts(name=each.name, reason=each.reason) for each in space.excluded),
        alternatives=request.alternatives,
    )


def _task_facts(checked: CheckedRequest) -> TaskFacts:
    request, task = checked.request, checked.checked.task
    metric = MetricFacts(name=task.metric.name, direction=task.metric.direction, unit=task.metric.unit)
    return TaskFacts(
        name=task.name,
        metric=metric,
        spec=request.task,
        arguments=request.arguments,
        digest=checked.checked.digest,
        preprocessing=dict(task.preprocessing),
        notes=checked.checked.notes,
        outputs=checked.checked.output_texts,
        validation_samples=request.validation_samples,
    )
