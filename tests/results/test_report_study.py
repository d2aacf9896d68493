"""A run as an Optuna study for people."""

from pathlib import Path

import optuna
import pytest
from autocompress.cli.commands import app
from autocompress.results.pick import cost_of
from autocompress.results.report.study import write_study
from autocompress.results.run_directory import write_run
from autocompress.tests.results.sample_run import sample_run, sample_run_of_two
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from typer.testing import CliRunner

RUN = sample_run()


def journal(path: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path)))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> optuna.Study:
    path = tmp_path_factory.mktemp("study") / "people.log"
    for _ in range(2):  # the second replaces the first
        write_study(RUN, path)
    assert [file.name for file in path.parent.iterdir()] == ["people.log"]
    return optuna.load_study(study_name=None, storage=journal(path))


def trial_of(study: optuna.Study, number: int) -> FrozenTrial:
    return next(trial for trial in study.get_trials() if trial.user_attrs["trial"] == number)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_it_is_called_after_task_and_target_and_its_values_have_names(study):
    assert study.study_name == f"{RUN.facts.task.name} on cpu"
    assert study.metric_names == ["drop (pp)", "size (ratio)", "latency (ratio)"]


def test_values_are_points_and_ratios_and_parameters_channels_and_precisions(study):
    point = RUN.front[0]
    trial = trial_of(study, point.trial)
    _, size, latency = RUN.vector(point)
    assert trial.values == pytest.approx([100 * cost_of(RUN, point, "drop"), size, latency])
    group = RUN.facts.groups[0]
    count = point.recipe.keep.get(group.name, group.channels)
    assert trial.params[f"{group.name}: channels (of {group.channels})"] == count
    layer = RUN.facts.layers[0].name
    assert trial.params[f"{layer}: precision"] == point.recipe.precision.get(layer, "float32")


def test_what_front_shows_is_an_attribute_each(study):
    attributes = trial_of(study, RUN.front[0].trial).user_attrs
    assert attributes["on the front"] is True and attributes["drop"].endswith("pp")
    pruned = next(point for point in RUN.points if point.recipe.keep)
    name, count = next(iter(pruned.recipe.keep.items()))
    assert f"{name}: {count} of " in trial_of(study, pruned.trial).user_attrs["channels"]
    assert {"what", "quality", "latency", "size"} <= attributes.keys()
    failed = [trial for trial in study.get_trials() if trial.state == TrialState.FAIL]
    assert [trial.user_attrs["message"] for trial in failed] == [one.message for one in RUN.failures]
    assert len(study.get_trials()) == len(RUN.points) + len(RUN.failures)


def test_of_two_targets_attributes_name_theirs_and_the_command_writes_it(tmp_path: Path) -> None:
    write_run(tmp_path, sample_run_of_two())
    ended = CliRunner().invoke(app, ["report", str(tmp_path), "--study", str(tmp_path / "people.log")])
    assert ended.exit_code == 0 and "optuna-dashboard " in ended.stderr
    study = optuna.load_study(study_name=None, storage=journal(tmp_path / "people.log"))
    assert study.study_name.endswith(" on cpu, edge")
    assert {"latency on cpu", "latency on edge"} <= trial_of(study, 0).user_attrs.keys()
