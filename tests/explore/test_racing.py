"""A search whose candidates race: what was stopped is a state of its own, for the run and for strategies."""

import shutil
from pathlib import Path

from autocompress.explore.screen import FrontRace
from autocompress.explore.session.status import outcome_line, races_sentence
from autocompress.results.records.point import Failure, Point
from autocompress.results.records.progress import Stopped
from autocompress.results.records.reading import Fields, parse
from autocompress.results.records.run import Run
from autocompress.tests.explore.fakes import FakeEvaluator, FakeNetwork, run_search
from autocompress.text.printable import json_text


class Racing(FakeEvaluator):
    """Stops what is worse than the bar."""

    def raced(self, trial, recipe, *, race, **given) -> Point | Failure | Stopped:
        made = self.evaluate(trial, recipe, **given)
        if isinstance(made, Failure):
            return made
        (measured,) = made.measured.values()
        bar = race.bar(measured.artifact, measured.latency)
        if bar is None or measured.drop <= bar.drop:
            return made
        return Stopped(
            trial=trial, recipe=recipe, target="fake", artifact=measured.artifact, latency=measured.latency,
            samples=100, of=1000, drop=measured.drop, drop_interval=(measured.drop - 0.001, measured.drop + 0.001),
            beaten_by=bar.trial, seconds=made.seconds,
        )  # fmt: skip


def raced(path: Path, *, trials: int = 30, racing: bool = True):
    return run_search(path, Racing(FakeNetwork()), sampler="tpe", trials=trials, racing=racing)


def test_what_is_stopped_is_no_point_and_no_failure_and_the_front_is_the_same(tmp_path: Path) -> None:
    made, plain = raced(tmp_path / "a"), raced(tmp_path / "b", racing=False)
    run: Run = made.run
    assert len(run.stopped) > 3 and not run.failures and run.screened == 0
    assert len(run.points) + len(run.stopped) == 30 == len(plain.run.points)
    seen = {one.trial for one in run.stopped}
    first = {point.recipe.digest: point for point in plain.run.points}
    same = [one for one in run.stopped if one.recipe.digest in first]
    assert same and not {point.trial for point in run.front} & seen
    for one in same:
        whole = first[one.recipe.digest]
        assert whole.trial not in {point.trial for point in plain.run.front}


def test_a_run_keeps_what_was_stopped(tmp_path: Path) -> None:
    run = raced(tmp_path / "a").run
    again = Run.from_json(Fields(parse(json_text(run.to_json()))))
    assert again.stopped == run.stopped and 0.9 * len(run.stopped) / 30 == again.saved_samples
    assert Stopped.from_json(Fields(parse(json_text(run.stopped[0].to_json())))) == run.stopped[0]


def test_the_next_session_knows_what_was_stopped(tmp_path: Path) -> None:
    before = raced(tmp_path / "a").run
    after = raced(tmp_path / "a", trials=32).run
    assert after.stopped[: len(before.stopped)] == before.stopped
    assert len(after.points) + len(after.stopped) == 32


def test_a_study_that_is_gone_has_what_was_stopped_again(tmp_path: Path) -> None:
    before = raced(tmp_path / "a").run
    for file in (tmp_path / "a").glob("study.db*"):
        file.unlink()
    shutil.rmtree(tmp_path / "a" / "cache", ignore_errors=True)
    after = raced(tmp_path / "a", trials=30).run
    assert after.stopped == before.stopped and after.points == before.points


def test_a_strategy_goes_by_the_estimate_of_what_was_stopped(tmp_path: Path) -> None:
    state = raced(tmp_path / "a").search.trials.state
    stopped = state.stopped[0]
    assert state.judged.point(stopped.trial).measured["fake"].drop == stopped.drop
    assert stopped.trial not in {point.trial for point in state.judged.front}
    assert len(state.judged.points) == len(state.run.points) + len(state.stopped)


def test_the_original_and_uniform_int8_do_not_race(tmp_path: Path) -> None:
    assert min(one.trial for one in raced(tmp_path / "a").run.stopped) > 1


def test_the_bar_is_set_by_who_is_no_slower_and_no_larger(tmp_path: Path) -> None:
    run = raced(tmp_path / "a").run
    for one in run.stopped:
        rival = run.point(one.beaten_by).measured["fake"]
        assert rival.artifact.size_bytes <= one.artifact.size_bytes
        assert rival.latency.ratio <= one.latency.ratio and rival.drop < one.drop
    bar = FrontRace(run=run).bar(run.stopped[0].artifact, run.stopped[0].latency)
    assert bar is not None and bar.drop < run.stopped[0].drop


def test_a_person_is_told_how_far_it_was_validated(tmp_path: Path) -> None:
    run = raced(tmp_path / "a").run
    line = outcome_line(run.stopped[0], run)
    assert "stopped after 100 of 1000 samples, a drop of at least" in line and "accuracy" not in line
    assert f"{len(run.stopped)} candidates were stopped in validation" in races_sentence(run)
