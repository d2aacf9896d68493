"""BundleVerification: what `verify BUNDLE` measured, beside what the manifest says. No file keeps it."""

from dataclasses import asdict, dataclass
from typing import Any

from ...profiles import Environment
from .latency import Latency
from .manifest import Manifest
from .reading import Interval

SCHEMA_VERSION = 2  # of what `verify BUNDLE --json` prints


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """The largest relative difference of answers to another runtime's here (`Manifest.answering`), what is
    tolerated, and of how many samples.
    """

    error: float
    tolerance: float
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleMeasured:
    """What the target did with the model. `drift_s` is between which seconds the machine drifted meanwhile,
    `not_compared` says why the ratio cannot be compared with the manifest's, `quality_not_verified` why there
    is no metric, `task_differs` how the task that it is of differs from the bundle's.
    """

    environment: Environment
    parity: Parity
    latency: Latency
    drift_s: Interval
    not_compared: str | None
    quality: float | None
    quality_not_verified: str | None = None
    task_differs: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleVerification:
    """The checked bundle on a target. `measured` is None when its model cannot be run there.

    `regressed` says in words what is worse than the manifest says.
    """

    manifest: Manifest
    target: str
    address: str
    measured: BundleMeasured | None
    regressed: tuple[str, ...]

    @property
    def skipped(self) -> tuple[str, ...]:
        """What was not compared with the manifest."""
        now = self.measured
        if now is None:
            return ()
        parts = {"latency": now.not_compared, "quality": now.quality_not_verified}
        return tuple(name for name, reason in parts.items() if reason is not None)

    def to_json(self) -> dict[str, Any]:
        """What `verify BUNDLE --json` prints."""
        value = {
            "schema_version": SCHEMA_VERSION,
            "bundle": self.manifest.name,
            "target": {"name": self.target, "address": self.address},
            "checksums": "ok",
        }
        if (measured := self.measured) is not None:
            metrics = self.manifest.to_json()["metrics"]
            value |= {
                "environment": measured.environment.to_json(),
                "parity": asdict(measured.parity),
                "latency": {"stated": metrics["latency"], "now": measured.latency.to_json()},
                "reference": self.manifest.to_json()["reference"],
                "drift_s": measured.drift_s,
                "not_compared": measured.not_compared,
                "quality": {
                    "metric": self.manifest.task.metric.name,
                    "stated": self.manifest.quality.validation,
                    "now": measured.quality,
                },
                "quality_not_verified": measured.quality_not_verified,
                "task_differs": measured.task_differs,
            }
        return {**value, "regressed": list(self.regressed), "skipped": list(self.skipped)}
