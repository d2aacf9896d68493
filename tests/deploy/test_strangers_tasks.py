"""Tasks that a run or bundle of a stranger names: nothing of them is imported, and none of their files read."""

import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from autocompress.cli.commands import app
from autocompress.deploy.given_task import GivenTask, from_search_folder, task_to_load
from autocompress.deploy.scoring import Scoring, scoring_of
from autocompress.deploy.verify_bundle import verify_bundle
from autocompress.deploy.verify_run import verify_run
from autocompress.errors import TargetUnavailable, TaskError
from autocompress.results.records.facts import MetricFacts, TaskFacts
from autocompress.results.records.verification_versions import json_for_scripts
from autocompress.results.run_config import RunConfig, folder_options
from autocompress.results.run_directory import read_run, write_verification
from autocompress.results.words.verified import bundle_lines, run_lines
from autocompress.tasks.identity import data_digest, model_digest, task_digest
from autocompress.tasks.load import load_task
from autocompress.tasks.names import BUILT_IN, WITHOUT_ARGUMENTS
from autocompress.tests.deploy.strangers import (
    edit,
    read_by,
    require_sentence,
    reseal,
    stranger_bundle,
    stranger_run,
)
from autocompress.tests.deploy.test_verify_files import MEASURED, verification
from autocompress.tests.targets.models import QUICK
from autocompress.tests.test_cli import TASK
from typer.testing import CliRunner

NEEDED = "The task that is named there is code, and is loaded only if you give it. If you trust it: --task "


def silent(text: str) -> None:
    pass


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """A Python file that leaves `acted` beside itself when anything imports it."""
    file = tmp_path / "evil.py"
    file.write_text(
        "from pathlib import Path\nPath(__file__).with_name('acted').touch()\n" + textwrap.dedent(TASK)
    )
    return file


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """`verify` ends after it has looked for the task, before it measures."""

    def unavailable(*_, **__):
        raise TargetUnavailable("far enough")

    for module in ("verify_run", "verify_bundle"):
        monkeypatch.setattr(f"autocompress.deploy.{module}.usable_target", unavailable)


def names_task(path: Path, spec: str, **arguments: str) -> None:
    """Makes a run or bundle name this task."""
    file = next(path / name for name in ("front.json", "manifest.json") if (path / name).is_file())
    edit(file, lambda value: value["task"].update(spec=spec, arguments=arguments))
    if file.name == "manifest.json":
        reseal(path)


@pytest.mark.parametrize("form", ["function", "file", "image-folder"])
def test_the_code_that_a_run_or_bundle_names_is_not_imported(form, evil, tmp_path, away):
    run, bundle = stranger_run(tmp_path), stranger_bundle(tmp_path)
    arguments = {}
    if form == "image-folder":
        for split in ("train", "validation", "test"):
            (tmp_path / split / "class").mkdir(parents=True)
        arguments = {"root": str(tmp_path), "model": f"{evil}:Net", "checkpoint": "/dev/zero"}
    spec = {"function": f"{evil}:make", "file": str(evil)}.get(form, form)
    for path in (run, bundle):
        names_task(path, spec, **arguments)
        ended = read_by("verify", path)
        options = " --task-arg root=… --task-arg model=… --task-arg checkpoint=…" if arguments else ""
        assert ended.exit_code == 3 and f"{NEEDED}{spec}{options}" in " ".join(ended.output.split())
    for command in ("front", "report", "pick"):
        assert read_by(command, run).exit_code == 0
    assert not (tmp_path / "acted").exists()


def test_fine_tuning_does_not_import_the_code_that_the_run_names(evil, tmp_path):
    run = stranger_run(tmp_path)
    names_task(run, f"{evil}:make", seed="1")
    require_sentence(read_by("pick", run, "--finetune", "1s"), f"{NEEDED}{evil}:make --task-arg seed=…")
    assert not (tmp_path / "acted").exists() and not (tmp_path / "out").exists()


def test_a_warm_start_does_not_import_the_code_that_the_run_names(evil, tmp_path):
    run = stranger_run(tmp_path)
    names_task(run, f"{evil}:make")
    (tmp_path / "task.py").write_text(textwrap.dedent(TASK))
    ended = CliRunner().invoke(
        app,
        [
            "search",
            f"{tmp_path / 'task.py'}:make",
            "--from",
            str(run),
            "--dry-run",
            "--out",
            str(tmp_path / "o"),
        ],
    )
    assert ended.exit_code == 0, ended.output
    assert not (tmp_path / "acted").exists()


def run_searched_in(folder: Path, run: Path, *, mark: str | None = None) -> None:
    """A run.toml of a search that ran in the folder; `mark` is a stranger's."""
    options = folder_options(folder) | ({} if mark is None else {"folder_mark": mark})
    run.mkdir()
    (run / "run.toml").write_text(RunConfig(identity={}, options=options).to_toml())


def test_a_task_that_is_not_here_is_that_of_the_folder_of_the_users_own_search(tmp_path, monkeypatch):
    project, here = tmp_path / "project", tmp_path / "here"
    (project / "data").mkdir(parents=True), here.mkdir()
    (project / "mine.py").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(here)
    run_searched_in(project, tmp_path / "run")
    run_searched_in(project, tmp_path / "strange", mark="0" * 64)
    given = GivenTask(spec="mine.py:make", arguments={"data": "data", "seed": "3"})
    task, note = from_search_folder(given, tmp_path / "run")
    assert task.spec == f"{project / 'mine.py'}:make"
    assert task.arguments == {"data": str(project / "data"), "seed": "3"}
    assert note == f"Note: taken from {project}, where the search ran: mine.py, data."
    assert from_search_folder(given, tmp_path / "strange") == (given, "")
    assert from_search_folder(given, tmp_path) == (given, "")
    (here / "mine.py").write_text(""), (here / "data").mkdir()
    assert from_search_folder(given, tmp_path / "run") == (given, "")


def test_what_was_not_checked_is_the_first_line_and_exit_code_4_on_request(tmp_path, monkeypatch):
    whole = verification(replace(MEASURED, regressed=()))
    target = replace(whole.targets[0], quality_not_verified="No task.")
    skipping = replace(whole, targets=(target,), away=())
    assert skipping.skipped == (f"quality on {target.target}",)
    lines = run_lines(skipping)
    assert lines[0] == f"Not checked: quality on {target.target}."
    assert "Nothing that was checked regressed. Not checked: quality." in lines
    assert "Nothing regressed." not in lines
    monkeypatch.setattr("autocompress.deploy.verify_run.verify_run", lambda *_, **__: skipping)
    monkeypatch.setattr("autocompress.cli.verify._check_early", lambda *_, **__: None)
    codes = [
        CliRunner().invoke(app, ["verify", str(tmp_path), *more]).exit_code for more in ([], ["--strict"])
    ]
    assert codes == [0, 4]


@pytest.mark.serial
def test_verify_does_what_it_can_and_says_what_it_left_out(evil, tmp_path, monkeypatch):
    monkeypatch.setattr("autocompress.targets.control.TOLERANCE", 100.0)
    run, bundle, folder = stranger_run(tmp_path), stranger_bundle(tmp_path), tmp_path / "temporary"
    folder.mkdir()
    for path in (run, bundle):
        names_task(path, f"{evil}:make")
    of_run = verify_run(run, None, folder=folder, say=silent, note=silent, timing=QUICK)
    of_bundle = verify_bundle(bundle, None, folder=folder, say=silent, note=silent, timing=QUICK)
    told = f"{NEEDED}{evil}:make"
    assert json_for_scripts(of_run)["targets"][0]["quality_not_verified"] == told
    assert f"Quality was not looked at. {told}" in run_lines(of_run)
    assert (
        of_bundle.to_json()["quality_not_verified"] == told and of_bundle.to_json()["quality"]["now"] is None
    )
    assert f"accuracy  not looked at. {told}" in bundle_lines(of_bundle)
    assert bundle_lines(of_bundle)[0] == "Not checked: latency, quality."
    assert of_bundle.measured is not None and of_bundle.measured.parity.error < 1e-5
    assert read_run(run).verification == of_run and not (tmp_path / "acted").exists()


@pytest.mark.parametrize("spec", ["x.py:f; rm -rf ~", "x\x1b[31m.py:f", "x" * 500])
def test_what_the_user_is_told_to_give_can_be_copied_without_harm(spec):
    with pytest.raises(TaskError) as refusal:
        task_to_load(facts(spec, {"a b": "1", "data": "x"}), None)
    option = "'x.py:f; rm -rf ~'" if ";" in spec else "path/to/file.py:function"
    assert str(refusal.value) == f"{NEEDED}{option} --task-arg data=…"


def facts(spec: str, arguments: dict[str, str], *, digest: str = "") -> TaskFacts:
    metric = MetricFacts(name="accuracy", direction="higher", unit="fraction")
    return TaskFacts(
        name="tiny", metric=metric, spec=spec, arguments=arguments, digest=digest, preprocessing={}
    )


@pytest.mark.parametrize("spec", BUILT_IN)
def test_a_built_in_task_is_loaded_without_the_arguments_of_the_file_or_not_at_all(spec):
    named = facts(spec, {"cache": "/tmp/elsewhere", "seed": "7", "token": "env:AWS_SECRET_ACCESS_KEY"})
    if spec in WITHOUT_ARGUMENTS:
        assert task_to_load(named, None) == GivenTask(spec=spec, arguments={})
    else:
        with pytest.raises(TaskError, match=spec):
            task_to_load(named, None)


# --- a task that the user gives


@pytest.fixture
def task(tmp_path: Path) -> str:
    (tmp_path / "task.py").write_text(textwrap.dedent(TASK))
    return f"{tmp_path / 'task.py'}:make"


def scoring(task: str, folder: Path, *, identity: bool = True, **arguments: str) -> Scoring:
    """How quality is looked at when the user gives the task with these arguments, and a run has it without."""
    stated = load_task(task, {})
    named = facts("evil.py:make", {}, digest=task_digest(stated))
    known = {"model": model_digest(stated.model), "data": data_digest(stated)} if identity else {}
    return scoring_of(named, GivenTask(spec=task, arguments=arguments), folder, identity=known)


def test_the_task_that_the_user_gives_is_used(task, tmp_path):
    given = scoring(task, tmp_path)
    assert given.scorer is not None and not given.differs and not given.reason and not given.notes


@pytest.mark.parametrize(
    ("identity", "differs"),
    [(True, "another model and another data"), (False, "another model, data, metric or loss")],
)
def test_a_task_that_is_not_the_runs_is_used_and_told_so(identity, differs, task, tmp_path):
    given = scoring(task, tmp_path, identity=identity, seed="1")
    assert given.scorer is not None and given.differs == differs
    assert given.notes == (f"Note: the task is not that of the search: it has {differs}.",)


def test_a_task_with_another_metric_is_refused(task, tmp_path):
    metric = MetricFacts(name="perplexity", direction="lower", unit="")
    named = replace(facts("", {}), metric=metric)
    with pytest.raises(TaskError, match="measures 'accuracy', but 'perplexity' is stated: give the task of"):
        scoring_of(named, GivenTask(spec=task), tmp_path, identity={})


def test_the_json_and_the_words_of_verify_say_that_the_task_differs(tmp_path):
    run = stranger_run(tmp_path)
    stated = verification(MEASURED, away=False)
    of_run = replace(stated, targets=(replace(stated.targets[0], task_differs="another data"),))
    write_verification(run, of_run)
    assert read_run(run).verification == of_run
    assert json_for_scripts(of_run)["targets"][0]["task_differs"] == "another data"
    assert "The metric is not of the task of the search: it has another data." in run_lines(of_run)


def test_a_given_task_that_cannot_be_loaded_ends_the_command(tmp_path):
    for path in (stranger_run(tmp_path), stranger_bundle(tmp_path)):
        require_sentence(read_by("verify", path, "--task", "no/task.py:make"), "There is no task file")


@pytest.mark.parametrize(
    ("command", "options", "told"),
    [
        ("verify", ["--task-arg", "a=1"], "--task-arg is an argument of --task"),
        ("pick", ["--finetune", "1s", "--task-arg", "a=1"], "--task-arg is an argument of --task"),
        ("verify", ["--task", "task.py:make", "--task-arg", "a"], "is no KEY=VALUE"),
        ("pick", ["--task", "task.py:make"], "--task is for --finetune"),
    ],
)
def test_options_of_the_task_that_do_not_fit_are_one_sentence(command, options, told, tmp_path):
    require_sentence(read_by(command, stranger_run(tmp_path), *options), told)
