"""The original in several runtimes: timed once in turns, longer before the finalists, kept for later."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from autocompress.errors import StageError
from autocompress.evaluation import originals
from autocompress.evaluation.availability import Availability
from autocompress.evaluation.originals import Originals
from autocompress.results.records.point import Point
from autocompress.results.run_directory import RunDirectory
from autocompress.targets.target import Target
from autocompress.tests.explore.fakes import CONFIG, PROFILE
from autocompress.tests.results.records import measured, point

NAMES = ("ort", "lite")
BASELINE: Point = replace(point(), outcomes={name: measured(point().recipe) for name in NAMES})


def target(name: str) -> Target:
    made = Target(replace(PROFILE, name=name), cores=(0,))
    made.measuring = nullcontext  # type: ignore[method-assign]
    return made


@pytest.fixture
def timed(tmp_path, monkeypatch):
    """Times the original as a session would; `seen` are the ratios of the next rounds of `lite`."""
    session = SimpleNamespace(asked=0, seen=(0.5, 0.501, 0.499), error=None)

    def in_turns(turns: Any, **options: Any) -> list[tuple[float, ...]]:
        session.asked += 1
        if session.error:
            raise session.error
        return [tuple(1.0 for _ in session.seen), session.seen]

    monkeypatch.setattr(originals, "ratios_in_turns", in_turns)
    evaluator: Any = SimpleNamespace(
        placing=object(),
        targets=tuple(map(target, NAMES)),
        availability=Availability(),
        bench=SimpleNamespace(artifact_path=lambda recipe, artifact: Path("model")),
    )

    def once(*, longer: bool = False) -> Originals:
        with RunDirectory.open(tmp_path / "run", CONFIG) as directory:
            made = Originals(directory, cast(Any, evaluator), batch=1)
            made.time(BASELINE, longer=longer, progress=lambda text: None, time_left=lambda: True)
            return made

    session.once, session.evaluator = once, evaluator
    return session


def test_it_is_timed_once_and_kept(timed):
    first = timed.once()
    assert first.in_turns["ort"].interval == (1.0, 1.0)
    assert first.in_turns["lite"].ratio == pytest.approx(0.5) and first.in_turns["lite"].rounds == 3
    assert timed.once().in_turns == first.in_turns and timed.asked == 1


def test_narrow_intervals_are_not_timed_longer(timed):
    timed.once()
    assert timed.once(longer=True).in_turns["lite"].rounds == 3 and timed.asked == 1


def test_more_rounds_join_those_of_before(timed):
    timed.seen = (0.5, 0.6, 0.4)
    timed.once()
    timed.seen = (0.5, 0.52, 0.48)
    longer = timed.once(longer=True)
    assert longer.in_turns["lite"].rounds == 6
    assert longer.in_turns["lite"].ratio == pytest.approx(0.5)


def test_a_failure_leaves_it_to_the_seconds(timed):
    timed.error = StageError("restless", stage="measure", kind="noisy")
    assert timed.once().in_turns == {}


def test_targets_that_are_no_alternatives_are_not_timed(timed):
    timed.evaluator.placing = None
    assert timed.once().in_turns == {} and timed.asked == 0
