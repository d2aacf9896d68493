"""The front against a naive one, and the hypervolume against counted boxes."""

import itertools
import math
import random
from dataclasses import replace

import pytest
from autocompress.results.front import (
    Vector,
    contributions,
    dominates,
    drop_scale,
    hypervolume,
    non_dominated,
)
from autocompress.results.records.latency import AnyLatency
from autocompress.results.records.point import Measured, Quality
from autocompress.tests.results.sample_run import UNCHANGED, point


def drawn(draw: random.Random, top: int, *, parts: int = 1) -> Vector:
    """A point of a grid of so many parts a unit."""
    x, y, z = (draw.randint(0, top) / parts for _ in range(3))
    return x, y, z


def naive_front(points):
    return [
        p
        for p in points
        if not any(all(a <= b for a, b in zip(q, p, strict=True)) and q != p for q in points)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_the_front_equals_a_naive_one_on_random_points_with_duplicates(seed):
    draw = random.Random(seed)
    points = [drawn(draw, 6) for _ in range(200)]
    assert non_dominated(points, lambda point: point) == naive_front(points)


def test_equal_points_do_not_dominate_each_other():
    assert not dominates((1.0, 2.0, 3.0), (1.0, 2.0, 3.0))
    assert non_dominated([(0.0, 0.0, 0.0)] * 2, lambda point: point) == [(0.0, 0.0, 0.0)] * 2


@pytest.mark.parametrize("missing", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["drop", "ratio", "latency_s", "validation"])
def test_a_missing_metric_never_ranks_because_no_record_has_it(missing, name):
    measured = point(1, UNCHANGED).measured["cpu"]
    records: dict[str, Measured | Quality | AnyLatency] = {"drop": measured, "validation": measured.quality}
    record = records.get(name, measured.latency)
    with pytest.raises(ValueError, match="finite"):
        replace(record, **{name: missing})


def test_no_points_have_an_empty_front_and_no_hypervolume():
    assert non_dominated([], lambda point: point) == []
    assert hypervolume([]) == 0.0


def test_hypervolume_equals_the_counted_cells_of_a_grid():
    draw = random.Random(0)
    points = [drawn(draw, 10, parts=10) for _ in range(12)]
    cells = itertools.product(range(10), repeat=3)
    covered = sum(
        any(all(10 * p <= c + 1e-9 for p, c in zip(point, cell, strict=True)) for point in points)
        for cell in cells
    )
    assert hypervolume(points) == pytest.approx(covered / 1000)


@pytest.mark.parametrize(
    ("point", "value"),
    [
        pytest.param((0.0, 0.0, 0.0), 1.0, id="free-instant-lossless"),
        pytest.param((-3.0, 0.5, 0.5), 0.25, id="better-quality-is-clipped"),
        pytest.param((0.0, 1.0, 0.2), 0.0, id="as-large-as-the-original"),
        pytest.param((1.5, 0.1, 0.1), 0.0, id="too-much-lost"),
    ],
)
def test_hypervolume_of_one_point(point, value):
    assert hypervolume([point]) == pytest.approx(value)


def test_a_dominated_point_contributes_nothing():
    found = contributions({"good": (0.1, 0.1, 0.1), "bad": (0.2, 0.2, 0.2)})
    assert found["good"] > 0 and found["bad"] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("unit", "baseline", "limit", "scale"),
    [
        ("fraction", 0.9, None, 0.05),
        ("fraction", 0.0, 0.1, 0.05),
        ("", 20.0, None, 1.0),
        ("", -20.0, 2.0, 1.0),
        ("", 0.0, None, 1.0),
        ("", 0.0, 0.3, 0.3),
        ("", 8.6e-14, 0.3, 0.3),
    ],
)
def test_the_drop_that_ends_the_objective_space(unit, baseline, limit, scale):
    assert drop_scale(unit, baseline, limit=limit) == pytest.approx(scale)
