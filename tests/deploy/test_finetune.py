"""Fine-tuning a picked point: a real run of a small task is recovered for longer, resumed, and its result
joins the run.
"""

import io
import shutil
import textwrap

import onnx
import pytest
from autocompress.cli.app import app
from autocompress.compress.compressor import Compressor
from autocompress.deploy.finetune import _evaluation_of, finetune
from autocompress.errors import InputError, RunDirectoryError
from autocompress.files import digest_of_file
from autocompress.results.finetuned import with_finetuned
from autocompress.results.formats import label_of
from autocompress.results.pick import measured_points
from autocompress.results.run_directory import read_run
from autocompress.results.table import front_json, front_table
from autocompress.results.views import run_on
from autocompress.search.prepare import open_search, prepare
from autocompress.search.request import SearchRequest
from autocompress.search.session.progress import QuietProgress
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
        patch.setattr("autocompress.search.prepare.SEARCH_TIMING", QUICK)
        patch.setattr("autocompress.search.finalists.FINALIST_TIMING", QUICK)
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


def tuned_of(path, *, trial=1, seconds=1.0):
    run = read_run(path)
    point = next(p for p in measured_points(run) if p["trial"] == trial)
    return finetune(path, run, point, seconds=seconds, progress=QuietProgress())


def test_a_fine_tuned_point_is_measured_scored_and_joins_the_run(run_path):
    tuned, before = tuned_of(run_path), read_run(run_path)
    file = run_path / tuned["artifact"]["file"]
    assert digest_of_file(file) == tuned["artifact"]["digest"] and onnx.load(file).graph.node
    assert tuned["finetuned"] == {"of": 1, "seconds": 1.0} and tuned["trial"] == -1
    assert tuned["quality"]["test"] is not None and tuned["latency"]["latency_s"] > 0
    assert all(layer["time_s"] > 0 and layer["time_original_s"] > 0 for layer in tuned["layers"])
    assert [label_of(p, before) for p in measured_points(before)].count(
        "uniform int8, fine-tuned 1.000 s"
    ) == 1
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
            "--minimize",
            "size",
            "--finetune",
            "1s",
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

    def interrupted(self, recipe, out_dir, *, progress=None, recovery_s=None, checkpoint=None):
        checkpoint.with_suffix(".seen").touch()
        raise KeyboardInterrupt

    def going_on(self, recipe, out_dir, *, progress=None, recovery_s=None, checkpoint=None):
        seen.append((recovery_s, checkpoint.with_suffix(".seen").is_file()))
        checkpoint.with_suffix(".seen").unlink()
        return build(self, recipe, out_dir, progress=progress, recovery_s=recovery_s, checkpoint=checkpoint)

    monkeypatch.setattr(Compressor, "build", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tuned_of(run_path)
    monkeypatch.setattr(Compressor, "build", going_on)
    assert tuned_of(run_path)["trial"] == -1 and seen == [(1.0, True)]


class Interrupting(QuietProgress):
    """Ctrl-C at the fifth message of the training."""

    def __init__(self):
        self.told = 0

    def stage(self, text):
        self.told += "recover" in text
        if self.told == 5:
            raise KeyboardInterrupt


def test_the_real_training_leaves_a_checkpoint_and_takes_it_up(run_path, monkeypatch):
    monkeypatch.setattr("autocompress.compress.student.recover.CHECKPOINT_S", 0.0)
    run = read_run(run_path)
    with pytest.raises(KeyboardInterrupt):
        finetune(run_path, run, run["uniform_int8"], seconds=2.0, progress=Interrupting())
    assert [file.suffix for file in (run_path / "finetuned").iterdir()] == [".ckpt"]
    tuned_of(run_path, seconds=2.0)
    assert [file.name for file in (run_path / "finetuned").iterdir()] == ["1.json"]


def test_a_changed_model_is_refused_by_its_name(run_path):
    text = (run_path / "run.toml").read_text()
    line = next(line for line in text.splitlines() if line.startswith('"model"'))
    (run_path / "run.toml").write_text(text.replace(line, '"model" = "another"'))
    with pytest.raises(RunDirectoryError, match="was made with another model: restore what changed"):
        tuned_of(run_path)


def test_the_original_has_nothing_to_recover(run_path):
    with pytest.raises(InputError, match="nothing to recover"):
        tuned_of(run_path, trial=0)


def tuned_sample(**changes):
    """The sample run's first front member, fine-tuned."""
    run = sample_run()
    member = run["front"][0]
    return run, {**member, "trial": -1, "finetuned": {"of": member["trial"], "seconds": 1800.0}, **changes}


def test_a_better_point_takes_the_place_of_its_trial_on_the_front():
    run, tuned = tuned_sample(drop=-0.001)
    joined = with_finetuned(run, [tuned])
    assert -1 in [p["trial"] for p in joined["front"]] and run["front"][0]["trial"] in [
        p["trial"] for p in joined["dominated"]
    ]
    assert len(measured_points(joined)) == len(measured_points(run)) + 1


def test_a_worse_point_and_one_that_breaks_a_limit_stay_off_the_front():
    run, tuned = tuned_sample(drop=0.2)
    joined = with_finetuned(run, [tuned])
    assert [p["trial"] for p in joined["front"]] == [p["trial"] for p in run["front"]]
    assert joined["dominated"][-1]["violations"] == {"drop": pytest.approx(0.19)}


def test_a_fine_tuned_point_and_its_trial_cannot_be_told_apart_by_latency():
    run, tuned = tuned_sample(drop=-0.001)
    points = {p["trial"]: p for p in measured_points(with_finetuned(run, [tuned]))}
    of = tuned["finetuned"]["of"]
    assert of in points[-1]["indistinguishable_from"] and -1 in points[of]["indistinguishable_from"]


def test_the_table_and_the_json_name_a_fine_tuned_point():
    run, tuned = tuned_sample(drop=-0.001)
    joined, console = with_finetuned(run, [tuned]), Console(width=200, record=True, file=io.StringIO())
    console.print(front_table(joined))
    assert f"{tuned['finetuned']['of']}, fine-tuned 30 min" in console.export_text()
    assert '"finetuned"' in front_json(joined)


def tuned_sample_of_two(**changes):
    """The sample run on two targets, and the first member of its joint front, fine-tuned."""
    run = sample_run_of_two()
    member = run["front"][0]
    targets = {name: {**entry, **changes} for name, entry in member["targets"].items()}
    return run, {
        **member,
        "trial": -1,
        "finetuned": {"of": member["trial"], "seconds": 1800.0},
        "targets": targets,
        **changes,
    }


def test_a_better_point_joins_the_front_of_every_target_and_the_joint_one():
    run, tuned = tuned_sample_of_two(drop=-0.01)
    joined = with_finetuned(run, [tuned])
    assert -1 in [p["trial"] for p in joined["front"]] and all(
        -1 in trials for trials in joined["fronts"].values()
    )
    point = next(p for p in joined["front"] if p["trial"] == -1)
    assert tuned["finetuned"]["of"] in point["targets"]["edge"]["indistinguishable_from"]
    assert len(measured_points(run_on(joined, "edge"))) == len(measured_points(run)) + 1


def test_a_point_that_breaks_a_limit_is_on_no_front_of_several_targets():
    run, tuned = tuned_sample_of_two(drop=0.2)
    joined = with_finetuned(run, [tuned])
    assert all(-1 not in trials for trials in joined["fronts"].values()) and -1 not in [
        p["trial"] for p in joined["front"]
    ]


def test_the_evaluation_of_a_point_has_all_its_targets():
    run = sample_run_of_two(missing=sample_run()["front"][0]["trial"])
    edge = run["baseline"]["targets"]["edge"]
    assert _evaluation_of(run["baseline"]).on("edge").latency.latency_s == edge["latency"]["latency_s"]
    missing = next(point for point in measured_points(run) if not point["targets"]["edge"]["latency"])
    assert _evaluation_of(missing).missing == ["edge"]
