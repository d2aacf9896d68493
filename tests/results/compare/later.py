"""Runs as a later night would have measured them: the same points with other noise, slower, or worse."""

import random
from dataclasses import replace

from autocompress.results.records.latency import Latency
from autocompress.results.records.point import Measured, Point
from autocompress.results.records.run import Run


def measured_again(run: Run, seed: int = 1, *, latency: float = 1.0, drop: float = 0.0) -> Run:
    """The run with latencies drawn within their intervals, times `latency`, and drops that are `drop` more.
    The original stays as it is.
    """
    draw = random.Random(seed)
    points = [_again(point, draw, latency, drop) if point.trial else point for point in run.points]
    return replace(run, points=tuple(points))


def with_other_samples(run: Run, seed: int = 1) -> Run:
    """The run as other validation samples of the same kind would score it: drops drawn within their
    intervals, and other files, so that nothing is paired.
    """
    draw = random.Random(seed)
    points = []
    for point in run.points:
        outcomes = {name: _other(one, draw) if point.trial else one for name, one in point.measured.items()}
        points.append(replace(point, outcomes=outcomes))
    task = replace(run.facts.task, digest=f"{seed:064x}")
    return replace(run, points=tuple(points), facts=replace(run.facts, task=task))


def _other(measured: Measured, draw: random.Random) -> Measured:
    assert measured.drop_interval is not None
    low, high = measured.drop_interval
    return _dropped(measured, draw.gauss(0.0, (high - low) / 2 / 1.96))


def _again(point: Point, draw: random.Random, latency: float, drop: float) -> Point:
    outcomes = {}
    for name, measured in point.measured.items():
        assert isinstance(measured.latency, Latency)
        factor = latency * (1 + draw.gauss(0.0, measured.latency.half_width / 1.96))
        outcomes[name] = replace(_dropped(measured, drop), latency=_times(measured.latency, factor))
    return replace(point, outcomes=outcomes)


def _dropped(measured: Measured, drop: float) -> Measured:
    assert measured.drop_interval is not None
    low, high = measured.drop_interval
    quality = replace(measured.quality, validation=measured.quality.validation - drop, interval=None)
    return replace(
        measured, drop=measured.drop + drop, drop_interval=(low + drop, high + drop), quality=quality
    )


def _times(latency: Latency, factor: float) -> Latency:
    low, high = latency.ratio_interval
    return replace(
        latency,
        ratio=factor * latency.ratio,
        ratio_interval=(factor * low, factor * high),
        latency_s=factor * latency.latency_s,
        interval_s=(factor * latency.interval_s[0], factor * latency.interval_s[1]),
        p50_s=factor * latency.p50_s,
        p90_s=factor * latency.p90_s,
        p99_s=factor * latency.p99_s,
    )
