"""Fine-tuning a picked point: a real run of a small task is recovered for longer, resumed, and its result
joins the run.
"""

import io
import shutil
import textwrap
from dataclasses import replace

import onnx
import pytest
from autocompress.cli.commands import app
from autocompress.compress.compressor import Compressor
from autocompress.deploy.finetune import finetune
from autocompress.deploy.given_task import GivenTask
from autocompress.errors import InputError, RunDirectoryError
from autocompress.explore.preparation.open_search import open_search
from autocompress.explore.preparation.prepare import prepare
from autocompress.explore.preparation.request import SearchRequest
from autocompress.explore.session.progress import QuietProgress
from autocompress.files import digest_of_file
from autocompress.results.formats import label_of
from autocompress.results.records.point import FineTuned, Point
from autocompress.results.records.run import Run
from autocompress.results.run_directory import read_run, write_finetuned, write_run
from autocompress.results.table import front_table
from autocompress.results.table_files import front_json
from autocompress.tests.present import present
from autocompress.tests.results.sample_run import sample_run, sample_run_of_two
from autocompress.tests.targets.models import QUICK
from autocompress.tests.test_cli import TASK
from rich.console import Console
from typer.testing import CliRunner


@pytest.fixture(autouse=True, scope="module")
def quick():
    """Short measurements, and a machine that is quiet enough for them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autocompress.targets.control.TOLERANCE", 100.0)
        patch.setattr("autocompress.targets.target.SEARCH_TIMING", QUICK)
        patch.setattr("autocompress.explore.preparation.open_search.SEARCH_TIMING", QUICK)
        patch.setattr("autocompress.explore.finalists.FINALIST_TIMING", QUICK)
        patch.setattr("autocompress.deploy.finetune.FINALIST_TIMING", QUICK)
        yield


@pytest.fixture(scope="module")
def finished(quick, tmp_path_factory):
    """The folder of a task and its run of two trials: the original and uniform int8."""
    folder = tmp_path_factory.mktemp("finetune")
    (folder / "task.py").write_text(textwrap.dedent(TASK))
    request = SearchRequest(
        task=f"{folder / 'task.py'}:make", trials=2, out=folder / "run", command="autocompress search"
    )
    with open_search(prepare(request, QuietProgress()), QuietProgress()) as search:
        search.run()
    return folder


@pytest.fixture
def run_path(finished, tmp_path):
    """A copy of the run that a test may change."""
    shutil.copytree(finished / "run", tmp_path / "run")
    return tmp_path / "run"


def task_of(run: Run) -> GivenTask:
    """The run's own task, as its user gives it."""
    return GivenTask(spec=run.facts.task.spec)


def tuned_of(path, *, trial=1, seconds=1.0):
    run, progress = read_run(path), QuietProgress()
    return finetune(path, run, run.point(trial), seconds=seconds, progress=progress, task=task_of(run))


def test_a_fine_tuned_point_is_measured_scored_and_joins_the_run(run_path):
    tuned = tuned_of(run_path)
    run = read_run(run_path)
    (measured,) = tuned.measured.values()
    file = run_path / measured.artifact.file
    assert digest_of_file(file) == measured.artifact.digest and onnx.load(file).graph.node
    assert tuned.finetuned == FineTuned(of=1, seconds=1.0) and tuned.trial == -1
    assert measured.quality.test is not None and measured.latency.seconds > 0 and measured.finalist
    assert all(layer.time_s > 0 and layer.time_original_s > 0 for layer in measured.layers)
    assert run.point(-1) == tuned
    assert [label_of(point, run) for point in run.points].count("uniform int8, fine-tuned 1.000 s") == 1
    assert list((run_path / "finetuned").iterdir()) == [run_path / "finetuned/1.json"]


def test_fine_tuning_measures_with_the_clocks_that_the_command_sets(run_path, monkeypatch):
    seen = []

    def prepared(request, progress, *, clocks):
        seen.append(clocks._wanted)
        raise InputError("far enough")

    monkeypatch.setattr("autocompress.deploy.finetune.prepare", prepared)
    for options in (["--set-clocks"], []):
        command = [
            "pick",
            str(run_path),
            "--trial",
            "1",
            "--allow-slower",
            "--finetune",
            "1s",
            "--task",
            task_of(read_run(run_path)).spec,
            "--out",
            str(run_path / "out"),
            *options,
        ]
        assert "far enough" in CliRunner().invoke(app, command).output
    assert seen == [True, False]


def test_the_same_fine_tuning_is_not_done_twice(run_path, monkeypatch):
    first = tuned_of(run_path)
    monkeypatch.setattr(Compressor, "build", None)
    assert tuned_of(run_path) == first == tuned_of(run_path, trial=-1)


def test_an_interrupted_fine_tuning_keeps_its_checkpoint_and_goes_on(run_path, monkeypatch):
    build, seen = Compressor.build, []

    def interrupted(self, recipe, out_dir, *, checkpoint=None, **options):
        checkpoint.with_suffix(".seen").touch()
        raise KeyboardInterrupt

    def going_on(self, recipe, out_dir, *, checkpoint=None, **options):
        seen.append((options["recovery_s"], checkpoint.with_suffix(".seen").is_file()))
        checkpoint.with_suffix(".seen").unlink()
        return build(self, recipe, out_dir, checkpoint=checkpoint, **options)

    monkeypatch.setattr(Compressor, "build", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tuned_of(run_path)
    monkeypatch.setattr(Compressor, "build", going_on)
    assert tuned_of(run_path).trial == -1 and seen == [(1.0, True)]


class Interrupting(QuietProgress):
    """Ctrl-C at the fifth message of the training."""

    def __init__(self):
        self.told = 0

    def stage(self, text):
        self.told += "recover" in text
        if self.told == 5:
            raise KeyboardInterrupt


def test_the_real_training_leaves_a_checkpoint_and_takes_it_up(run_path, monkeypatch):
    monkeypatch.setattr("autocompress.compress.student.training.recover.CHECKPOINT_S", 0.0)
    run = read_run(run_path)
    with pytest.raises(KeyboardInterrupt):
        point = present(run.uniform_int8)
        finetune(run_path, run, point, seconds=2.0, progress=Interrupting(), task=task_of(run))
    assert [file.suffix for file in (run_path / "finetuned").iterdir()] == [".ckpt"]
    tuned_of(run_path, seconds=2.0)
    assert [file.name for file in (run_path / "finetuned").iterdir()] == ["1.json"]


def test_a_changed_model_is_refused_by_its_name(run_path):
    text = (run_path / "run.toml").read_text()
    line = next(line for line in text.splitlines() if line.startswith('"model"'))
    (run_path / "run.toml").write_text(text.replace(line, '"model" = "another"'))
    with pytest.raises(RunDirectoryError, match="was made with another model: restore what changed"):
        tuned_of(run_path)


def test_another_task_than_that_of_the_run_is_refused_by_what_differs(run_path):
    run, point = read_run(run_path), read_run(run_path).point(1)
    other = replace(task_of(run), arguments={"seed": "1"})
    with pytest.raises(RunDirectoryError, match="was made with another model, another data"):
        finetune(run_path, run, point, seconds=1.0, progress=QuietProgress(), task=other)


def test_the_original_has_nothing_to_recover(run_path):
    with pytest.raises(InputError, match="nothing to recover"):
        tuned_of(run_path, trial=0)


def joined(run: Run, folder, **changes) -> tuple[Run, Point]:
    """The run with its first front member fine-tuned, read from `folder`; and that point."""
    origin = run.front[0]
    changes = {"drop_interval": None, **changes}
    outcomes = {name: replace(measured, **changes) for name, measured in origin.measured.items()}
    tuned = replace(origin, trial=-1, outcomes=outcomes, finetuned=FineTuned(of=origin.trial, seconds=1800.0))
    write_run(folder, run)
    write_finetuned(folder, tuned)
    return read_run(folder), tuned


def trials(points) -> list[int]:
    return [point.trial for point in points]


def test_a_better_point_takes_the_place_of_its_trial_on_the_front(tmp_path):
    run = sample_run()
    joint, tuned = joined(run, tmp_path, drop=-0.001)
    assert -1 in trials(joint.front) and present(tuned.finetuned).of in trials(joint.others)
    assert len(joint.points) == len(run.points) + 1


def test_a_worse_point_and_one_that_breaks_a_limit_stay_off_the_front(tmp_path):
    run = sample_run()
    joint, tuned = joined(run, tmp_path, drop=0.2)
    assert trials(joint.front) == trials(run.front)
    assert joint.violations(tuned)["drop"].value == pytest.approx(0.19)


def test_a_fine_tuned_point_and_its_trial_cannot_be_told_apart_by_latency(tmp_path):
    joint, tuned = joined(sample_run(), tmp_path, drop=-0.001)
    origin = present(tuned.finetuned).of
    assert origin in joint.indistinguishable[-1] and -1 in joint.indistinguishable[origin]


def test_the_table_and_the_json_name_a_fine_tuned_point(tmp_path):
    joint, tuned = joined(sample_run(), tmp_path, drop=-0.001)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(front_table(joint))
    assert f"{present(tuned.finetuned).of}, fine-tuned 30 min" in console.export_text()
    assert '"finetuned"' in front_json(joint)


def test_a_better_point_joins_the_front_of_every_target_and_the_joint_one(tmp_path):
    run = sample_run_of_two()
    joint, tuned = joined(run, tmp_path, drop=-0.01)
    assert -1 in trials(joint.front) and all(-1 in front for front in joint.fronts.values())
    edge = joint.only("edge")
    assert present(tuned.finetuned).of in edge.indistinguishable[-1]
    assert len(edge.points) == len(run.points) + 1


def test_a_point_that_breaks_a_limit_is_on_no_front_of_several_targets(tmp_path):
    joint, _ = joined(sample_run_of_two(), tmp_path, drop=0.2)
    assert all(-1 not in front for front in joint.fronts.values()) and -1 not in trials(joint.front)
