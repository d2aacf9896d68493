"""The numbers of a bundle's manifest as parameters and metrics of a run in MLflow."""

from ...results.records.latency import Predicted
from ...results.records.manifest import Manifest
from ...text.printable import printable

LONGEST = 500  # characters of a parameter, which every version of MLflow takes


def parameters_of(manifest: Manifest) -> dict[str, str]:
    """What the model is and how it was made, as text."""
    target, recovery = manifest.target, manifest.recipe.recovery
    asked = manifest.recipe.precision
    values = {
        "task": manifest.task.name,
        "metric": manifest.task.metric.name,
        "target": target.name,
        "runtime": target.runtime,
        "threads": target.threads,
        "batch": target.batch,
        "trial": manifest.trial,
        "pruned_groups": len(manifest.recipe.keep),
        "removed_blocks": len(manifest.recipe.skip),
        "factored_layers": len(manifest.recipe.rank),
        "precisions": ", ".join(sorted(set(asked.values()))) or "float32",
        "recovery_steps": recovery.steps if recovery else 0,
        "command": manifest.command,
    }
    if manifest.recipe.resolution is not None:
        values["images"] = "{} × {}".format(*manifest.recipe.resolution)
    if target.environment is not None:
        values["runtime_version"] = target.environment.runtime_version
        values["processor"] = target.environment.cpu_model
    return {name: printable(value)[:LONGEST] for name, value in values.items()}


def metrics_of(manifest: Manifest) -> dict[str, float]:
    """Quality, latency and size with their intervals; what was not measured is not there."""
    numbers: dict[str, float | None] = {
        "validation": manifest.quality.validation,
        "test": manifest.quality.test,
        "drop": manifest.drop,
        "size_bytes": manifest.model.judged_bytes,
        "size_ratio": manifest.model.judged_bytes / manifest.original.size_bytes,
        "macs": manifest.model.macs,
        "parameters": manifest.model.parameters,
        **_latency(manifest),
    }
    if manifest.drop_interval is not None:
        numbers["drop_low"], numbers["drop_high"] = manifest.drop_interval
    return {name: float(value) for name, value in numbers.items() if value is not None}


def _latency(manifest: Manifest) -> dict[str, float | None]:
    latency = manifest.latency
    if isinstance(latency, Predicted):
        return {"predicted_latency_s": latency.seconds, "predicted_latency_ratio": latency.ratio}
    low, high = latency.ratio_interval
    return {
        "latency_s": latency.latency_s,
        "latency_ratio": latency.ratio,
        "latency_ratio_low": low,
        "latency_ratio_high": high,
        "p99_s": latency.p99_s,
        "peak_memory_bytes": latency.peak_memory_bytes,
        "energy_j": latency.energy.energy_j if latency.energy else None,
        "energy_ratio": latency.energy.ratio if latency.energy else None,
    }
