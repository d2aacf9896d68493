"""What a run is, from its problem: what must not change to continue it (run.toml), and what does not change
in front.json.
"""

from typing import TYPE_CHECKING, Any

from ..files import canonical_json
from ..results.run_directory import RunConfig
from ..tasks.identity import data_digest, model_digest
from .evaluation.several import (
    environment_identity,
    identity_of,
    predicted_identity,
    target_facts,
    targets_facts,
)

if TYPE_CHECKING:
    from .prepare import Problem


def config_of(problem: "Problem") -> RunConfig:
    """What must be unchanged to continue the run, by the names that a user is told, and the options of this
    call.
    """
    request, task, environment = problem.request, problem.checked.task, problem.targets[0].environment
    identity = {
        "task": task.name,
        "model": model_digest(task.model),
        "data": data_digest(task),
        "task definition": problem.checked.digest,
        "target": problem.target_names,
        "profile": problem.profile.fingerprint,
        **predicted_identity(problem.targets[0], prefix=""),
        "batch": str(request.batch),
        **(dict(environment_identity(environment, prefix="")) if environment else {}),  # a plan needs none
        **identity_of(problem.targets[1:]),
    }
    constraints = request.constraints
    options = {
        "spec": request.task,
        "target": request.target,
        "arguments": canonical_json(dict(request.arguments)).decode(),
        "sampler": request.sampler,
        "recovery": request.recovery,
        "warm_start": None if request.warm_start is None else str(request.warm_start),
        "seed": request.seed,
        "budget_s": request.budget_s,
        "trials": request.trials,
        "max_drop": None if constraints.max_drop is None else str(constraints.max_drop),
        "max_latency_s": constraints.max_latency_s,
        "max_size_bytes": constraints.max_size_bytes,
        "command": request.command,
    }
    return RunConfig(identity=identity, options=options)


def facts_of(problem: "Problem") -> dict[str, Any]:
    """The entries of front.json that do not change while a search runs."""
    request, checked, network = problem.request, problem.checked, problem.network
    task, space = checked.task, problem.space
    metric = {"name": task.metric.name, "direction": task.metric.direction, "unit": task.metric.unit}
    several: dict[str, Any] = {}
    if len(problem.targets) > 1:
        facts = targets_facts(
            problem.targets, problem.constraints, batch=request.batch, baseline=checked.baseline
        )
        several = {"targets": facts}
    return {
        "task": {
            "name": task.name,
            "metric": metric,
            "spec": request.task,
            "arguments": dict(request.arguments),
            "digest": checked.digest,
            "preprocessing": dict(task.preprocessing),
            "notes": list(checked.notes),
        },
        "target": target_facts(problem.targets[0], batch=request.batch),
        **several,
        "environment": problem.environment.to_json(),
        "command": request.command,
        "sampler": request.sampler,
        "seed": request.seed,
        "constraints": request.constraints.to_json(checked.baseline),
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "channels": layer.channels_out,
                "macs": layer.macs,
                "parameters": layer.parameters,
            }
            for layer in network.layers
        ],
        "groups": [
            {
                "name": group.name,
                "channels": group.channels,
                "layers": list(group.layers),
                "levels": list(group.levels),
            }
            for group in space.groups
        ],
        "excluded": [{"name": item.name, "reason": item.reason} for item in space.excluded],
    }
