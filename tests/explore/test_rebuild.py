"""A study that is gone, empty or old is rebuilt of front.json: nothing measured is lost or measured again."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from autocompress.compress.recipe import Recipe
from autocompress.errors import RunDirectoryError
from autocompress.results.records.point import Failure
from autocompress.results.records.run import Run
from autocompress.results.run_directory import RunDirectory, read_front, write_run
from autocompress.tests.explore.fakes import CONFIG, FakeEvaluator, FakeNetwork, make_search, run_search
from autocompress.tests.present import present


def failing(recipe: Recipe) -> Failure | None:
    if recipe.keep.get("layer1") != 16 and "layer1" in recipe.keep:
        return Failure(trial=0, stage="export", kind="error", message="no kernel", retryable=False)
    return None


class Failing(FakeEvaluator):
    def evaluate(self, trial, recipe, **given):
        return replace(super().evaluate(trial, recipe, **given), trial=trial)


def evaluator() -> FakeEvaluator:
    return Failing(FakeNetwork(), failing=failing)


def search(path: Path, **options) -> Run:
    return run_search(path, evaluator(), sampler="tpe", **options).run


def again(path: Path, **options) -> tuple[Run, list[str], list[str]]:
    """The run of a session that goes on; what it evaluated, and its notes."""
    notes, evaluating = list[str](), evaluator()
    with RunDirectory.open(path, CONFIG) as directory:
        made = make_search(directory, evaluating, sampler="tpe", **options)
        made.trials.progress.note = notes.append  # type: ignore[assignment,method-assign]
        made.run()
        return present(read_front(path)), evaluating.evaluated, notes


def gone(path: Path) -> None:
    for file in path.glob("study.db*"):
        file.unlink()


def gone_but_for_its_log(path: Path) -> None:
    (path / "study.db").unlink()


def empty(path: Path) -> None:
    gone(path)
    (path / "study.db").touch()


def without_trials(path: Path) -> None:
    gone(path)
    with RunDirectory.open(path, CONFIG) as directory:
        make_search(directory, evaluator())


@pytest.mark.parametrize("lose", [gone, gone_but_for_its_log, empty, without_trials])
def test_a_study_that_was_lost_is_made_of_front_json(tmp_path, lose: Callable[[Path], None]):
    before = search(tmp_path / "run", trials=12)
    assert before.failures
    lose(tmp_path / "run")
    after, evaluated, notes = again(tmp_path / "run", trials=12)
    assert after.points == before.points and after.failures == before.failures and evaluated == []
    assert [note for note in notes if "lacked 12 trials of front.json; they are in it again" in note]
    longer, evaluated, notes = again(tmp_path / "run", trials=16)
    assert longer.points[: len(before.points)] == before.points and len(evaluated) == 4
    assert not {point.recipe.digest for point in before.points} & set(evaluated) and notes == []
    assert len(longer.points) + len(longer.failures) == 16


def test_an_old_copy_of_the_study_gets_what_came_later(tmp_path):
    run = tmp_path / "run"
    search(run, trials=4)
    shutil.copytree(run, tmp_path / "copy")
    before = search(run, trials=10)
    gone(run)
    for file in (tmp_path / "copy").glob("study.db*"):
        shutil.copy(file, run)
    after, evaluated, notes = again(run, trials=10)
    assert after.points == before.points and evaluated == [] and "lacked 6 trials" in notes[0]


def test_a_study_with_more_trials_than_front_json_stays_as_it_is(tmp_path):
    run = tmp_path / "run"
    short = search(run, trials=4)
    before = search(run, trials=8)
    write_run(run, short)
    after, evaluated, notes = again(run, trials=8)
    assert after.points == before.points and evaluated == [] and notes == []


def test_numbers_of_trials_stay_where_others_were_screened_out(tmp_path):
    run = tmp_path / "run"
    before = search(run, trials=6)
    moved = [replace(point, trial=point.trial + 3 * (point.trial > 1)) for point in before.points]
    write_run(run, replace(before, points=tuple(moved), failures=()))
    (run / "log.jsonl").unlink()
    gone(run)
    after, _, notes = again(run, trials=len(moved) + 2)
    assert (
        list(after.points[: len(moved)]) == moved
        and len(after.points) + len(after.failures) == len(moved) + 2
    )
    assert "that were screened out or under way are lost" in notes[0]


def test_a_failure_without_its_recipe_is_a_failure_still(tmp_path):
    before = search(tmp_path / "run", trials=12)
    gone(tmp_path / "run")
    (tmp_path / "run" / "log.jsonl").write_text("{broken\n\x00\n[1]\n")
    after, _, _ = again(tmp_path / "run", trials=12)
    assert after.failures == before.failures and after.points == before.points


def test_a_study_of_another_search_is_refused_and_front_json_stays(tmp_path):
    search(tmp_path / "run", trials=12)
    run_search(tmp_path / "other", evaluator(), trials=12, seed=5, sampler="random")
    gone(tmp_path / "run")
    for file in (tmp_path / "other").glob("study.db*"):
        shutil.copy(file, tmp_path / "run")
    before = (tmp_path / "run" / "front.json").read_bytes()
    with pytest.raises(RunDirectoryError, match=r"do not belong together.*restore the study\.db"):
        again(tmp_path / "run", trials=14)
    assert (tmp_path / "run" / "front.json").read_bytes() == before


KILLED = """
import os, sys
from pathlib import Path
from autocompress.explore import study_file
from autocompress.tests.explore.test_rebuild import again
study_file.optuna.delete_study = lambda **given: os.kill(os.getpid(), 9)
again(Path(sys.argv[1]), trials=8)
"""


def test_a_kill_while_the_study_is_rebuilt_costs_nothing(tmp_path):
    before = search(tmp_path / "run", trials=8)
    gone(tmp_path / "run")
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "run"], check=False)
    assert killed.returncode == -9
    after, evaluated, _ = again(tmp_path / "run", trials=8)
    assert after.points == before.points and evaluated == []


def test_front_json_never_gets_fewer_points(tmp_path, monkeypatch):
    run = tmp_path / "run"
    before = search(run, trials=6)

    def interrupted(self, point):
        raise KeyboardInterrupt

    monkeypatch.setattr("autocompress.explore.trials.Trials.learn", interrupted)
    assert again(run, trials=6)[0].points == before.points
