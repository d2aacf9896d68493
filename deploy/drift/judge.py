"""Drift: what of a bundle's inputs, answers and latency moved in use, and which claims no longer hold.

A distribution has moved when it is far (PSI or KS at its threshold) and that is no chance (probability below
CHANCE, divided by the number of comparisons). The claims of the manifest:

- its metric, measured on samples like those of calibration, does not hold where an input or an answer has
  moved, or where more than BEYOND of the values of an input are beyond what calibration saw,
- its latency does not hold where the median in use is more than ROOM above the claimed one, on the same
  processor. Wall-clock on a busy device is more than the time that was measured, for which there is ROOM.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...errors import InputError
from ...results.records.latency import Latency
from ...results.records.manifest import Manifest
from ...results.records.statistics import SampleStatistics, TensorStatistics
from ..read_bundle import is_bundle, read_manifest
from .distances import chance, excess, ks, psi, shares_of
from .logs import Observed, read_logs

SCHEMA_VERSION = 1  # of what `drift --json` prints
PSI, KS = 0.2, 0.15
CHANCE = 0.001
BEYOND = 0.02
ROOM = 0.25
LEAST_LOOKS, LEAST_CALLS = 100, 100

Kind = Literal["input", "output", "class"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A channel of an input or output in use, or how often each class is the answer.

    `beyond` is the share of values beyond what calibration saw, None for classes; int8 layers cut them off.
    """

    kind: Kind
    name: str
    channel: int | None
    psi: float
    ks: float
    beyond: float | None
    moved: bool
    exceeds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyInUse:
    """Percentiles in use beside the claimed median. `not_compared` says why that is not compared."""

    calls: int
    p50_s: float
    p90_s: float
    p99_s: float
    max_s: float
    claimed_p50_s: float | None
    limit_s: float | None
    not_compared: str | None

    @property
    def slower(self) -> bool:
        """Whether the claimed median does not hold."""
        claimed = None if self.not_compared else self.claimed_p50_s
        return claimed is not None and self.p50_s > (1 + ROOM) * claimed

    @property
    def over_limit(self) -> bool:
        """Whether more than 1 % of the inferences took longer than the limit that the user gives."""
        return self.limit_s is not None and self.p99_s > self.limit_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What the logs say of the bundle. `not_compared` says why inputs and answers were not compared."""

    manifest: Manifest
    observed: Observed
    comparisons: tuple[Comparison, ...]
    latency: LatencyInUse | None
    not_compared: str | None

    @property
    def moved(self) -> tuple[Comparison, ...]:
        """What moved, or is beyond what calibration saw."""
        return tuple(one for one in self.comparisons if one.moved or one.exceeds)

    @property
    def broken(self) -> tuple[str, ...]:
        """The claims that no longer hold, by name."""
        metric = self.manifest.task.metric.name
        names = [metric] if self.moved else []
        if self.latency is not None:
            names += ["latency"] if self.latency.slower else []
            names += ["latency limit"] if self.latency.over_limit else []
        return tuple(names)

    def to_json(self) -> dict[str, Any]:
        """What `drift --json` prints."""
        seen = self.observed
        return {
            "schema_version": SCHEMA_VERSION,
            "bundle": self.manifest.name,
            "logs": seen.logs,
            "other_logs": seen.other_logs,
            "lines": seen.lines,
            "torn_lines": seen.torn,
            "since_s": seen.since_s,
            "earlier_lines": seen.earlier,
            "calls": seen.calls,
            "looks": seen.looks,
            "start_s": seen.start_s,
            "end_s": seen.end_s,
            "cpu_models": sorted(seen.cpu_models),
            "runtime_versions": sorted(seen.runtime_versions),
            "latency": None if self.latency is None else asdict(self.latency),
            "comparisons": [asdict(one) for one in self.comparisons],
            "not_compared": self.not_compared,
            "thresholds": {"psi": PSI, "ks": KS, "chance": CHANCE, "beyond": BEYOND, "latency_room": ROOM},
            "broken": list(self.broken),
        }


def drift_of(
    bundle: Path, logs: Sequence[Path], *, limit_s: float | None = None, since_s: float | None = None
) -> Drift:
    """What the logs say of the bundle, as far as they began at `since_s` (seconds since 1970) or later.
    `limit_s` is the longest latency that the user wants.

    InputError when the bundle is damaged or a log is not of it.
    """
    if not is_bundle(bundle):
        raise InputError(f"{bundle} is no bundle: give a folder that `pick` wrote.")
    manifest = read_manifest(bundle)
    observed = read_logs(logs, manifest, since_s=since_s)
    why = _not_compared(manifest, observed)
    comparisons = () if why else tuple(_comparisons(manifest, observed))
    return Drift(
        manifest=manifest,
        observed=observed,
        comparisons=comparisons,
        latency=_latency(manifest, observed, limit_s),
        not_compared=why,
    )


def _not_compared(manifest: Manifest, observed: Observed) -> str | None:
    if isinstance(manifest.statistics, str):
        return f"the manifest has no statistics of samples, since {manifest.statistics}"
    if observed.looks < LEAST_LOOKS:
        return f"{observed.looks} of the inferences were looked at, {LEAST_LOOKS} are needed"
    return None


def _comparisons(manifest: Manifest, observed: Observed) -> Iterator[Comparison]:
    statistics = manifest.statistics
    assert isinstance(statistics, SampleStatistics)
    both = (*statistics.inputs, *statistics.outputs)
    count = sum(len(one.channels) + (one.top is not None) for one in both)
    for tensor in statistics.inputs:
        yield from _channels("input", tensor, observed.inputs.get(tensor.name, []), observed.looks, count)
    for tensor in statistics.outputs:
        yield from _channels("output", tensor, observed.outputs.get(tensor.name, []), observed.looks, count)
        if tensor.top is not None and tensor.name in observed.top:
            yield from _classes(tensor, observed.top[tensor.name], count)


def _channels(
    kind: Kind, tensor: TensorStatistics, counts: Sequence[Any], looks: int, comparisons: int
) -> Iterator[Comparison]:
    samples = float(tensor.samples), float(looks)
    for index, (channel, counted) in enumerate(zip(tensor.channels, counts, strict=False)):
        if not counted.sum():
            continue
        used, calibrated = shares_of(counted), np.asarray(channel.shares)
        apart, distance = psi(calibrated, used, samples=min(samples)), ks(calibrated, used)
        beyond = float(used[0] + used[-1])
        unlikely = excess(beyond, samples=samples) < CHANCE / comparisons
        yield Comparison(
            kind=kind,
            name=tensor.name,
            channel=index if len(tensor.channels) > 1 else None,
            psi=apart,
            ks=distance,
            beyond=beyond,
            moved=_has_moved(apart, distance, (calibrated, used), samples, comparisons),
            exceeds=kind == "input" and beyond > BEYOND and unlikely,
        )


def _classes(tensor: TensorStatistics, counted: Any, comparisons: int) -> Iterator[Comparison]:
    samples = float(tensor.samples), float(counted.sum())
    if samples[1] < LEAST_LOOKS:
        return
    calibrated, used = np.asarray(tensor.top), shares_of(counted)
    half = float(np.abs(used - calibrated).sum() / 2)  # classes have no order: total variation for KS
    apart = psi(calibrated, used, samples=min(samples))
    yield Comparison(
        kind="class",
        name=tensor.name,
        channel=None,
        psi=apart,
        ks=half,
        beyond=None,
        moved=_has_moved(apart, half, (calibrated, used), samples, comparisons),
        exceeds=False,
    )


def _has_moved(
    apart: float, distance: float, shares: tuple[Any, Any], samples: tuple[float, float], comparisons: int
) -> bool:
    """Whether the PSI `apart` or the distance (KS, of classes total variation) is at its threshold, and that
    is no chance.
    """
    far = apart >= PSI or distance >= KS
    return far and chance(*shares, samples=samples) < CHANCE / comparisons


def _latency(manifest: Manifest, observed: Observed, limit_s: float | None) -> LatencyInUse | None:
    p50, p90, p99 = (observed.latency_s(share) for share in (0.5, 0.9, 0.99))
    if p50 is None or p90 is None or p99 is None:
        return None
    claim = manifest.latency
    return LatencyInUse(
        calls=observed.bins.total(),
        p50_s=p50,
        p90_s=p90,
        p99_s=p99,
        max_s=observed.longest_s,
        claimed_p50_s=claim.p50_s if isinstance(claim, Latency) else None,
        limit_s=limit_s,
        not_compared=_latency_not_compared(manifest, observed),
    )


def _latency_not_compared(manifest: Manifest, observed: Observed) -> str | None:
    target = manifest.target
    if not isinstance(manifest.latency, Latency):
        return "the manifest's is predicted, not measured"
    if target.sizes is not None:
        return f"it was measured at {target.sizes.text}, and inputs in use have any size"
    if observed.bins.total() < LEAST_CALLS:
        return (
            f"{observed.bins.total()} inferences of batch {target.batch} were timed, {LEAST_CALLS} are needed"
        )
    claimed = target.environment.cpu_model if target.environment else None
    if observed.cpu_models != {claimed}:
        used = ", ".join(sorted(observed.cpu_models))
        return f"it was measured on {claimed or 'an unknown processor'}, and used on {used}"
    return None
