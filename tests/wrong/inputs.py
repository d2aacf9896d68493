"""Wrong inputs of many kinds: command lines, task functions, files. Each ends with exit code 2 and one sentence."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from autocompress.cli.commands import app
from autocompress.results.run_directory import write_run
from autocompress.tests.results.sample_run import sample_run
from autocompress.tests.wrong.tasks import SAID, SOURCE
from torch import nn
from typer.testing import CliRunner, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """An input: a command line, and the words that must be in the sentence. `made` writes its files first."""

    name: str
    arguments: tuple[str, ...]
    words: str
    made: Callable[[Path], object] = field(default=lambda folder: None)

    def ended(self, folder: Path) -> Result:
        """How the command ends in the folder, where its files are made."""
        self.made(folder)
        before = Path.cwd()
        os.chdir(folder)
        try:
            return CliRunner().invoke(app, list(self.arguments))
        finally:
            os.chdir(before)


def complaint(ended: Result, words: str) -> str:
    """What is wrong with how a wrong input ended; empty when it was exit code 2 and one sentence with the
    words.
    """
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        return f"{type(ended.exception).__name__}: {ended.exception}"
    if ended.exit_code != 2:
        return f"exit code {ended.exit_code}"
    errors = [line for line in ended.stderr.splitlines() if line.startswith("Error: ")]
    usage = " ".join(ended.stderr.split()) if "Usage: " in ended.stderr else ""
    said = errors[0] if errors else usage
    if len(errors) > 1 or not said:
        return f"{len(errors)} sentences"
    return "" if words in said and ended.stdout == "" else f"without {words!r}: {said}"


def of_task(name: str, words: str) -> Wrong:
    """A function of the wrong tasks."""
    return Wrong(
        name=f"task function {name}",
        arguments=("search", f"wrong.py:{name}", "--dry-run"),
        words=words,
        made=lambda folder: (folder / "wrong.py").write_text(SOURCE),
    )


def line(text: str, words: str) -> Wrong:
    """A command line that needs no file."""
    return Wrong(name=text, arguments=tuple(text.split()), words=words)


def with_file(text: str, words: str, name: str, content: bytes | Callable[[Path], object]) -> Wrong:
    """A command line and a file with this content, or written by this function."""

    def made(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if callable(content):
            content(folder / name)
        else:
            (folder / name).write_bytes(content)

    return Wrong(name=f"{text} ({name})", arguments=tuple(text.split()), words=words, made=made)


COMMAND_LINES = (
    line("search --max-size 200", "has no unit: write it like 200KB"),
    line("search --max-latency 2", "has no unit"),
    line("search --max-latency 2KB", "2KB"),
    line("search --max-drop 5", "has no unit"),
    line("search --max-energy 5", "has no unit: write it like 5mJ"),
    line("search --max-energy 5ms", "has the unknown unit 'ms'"),
    line("search --max-energy cpuu=5mJ", "names the target 'cpuu': choose 'cpu'"),
    line("search --budget soon", "is not a number with a unit"),
    line("search --budget 0s", "must be greater than 0"),
    line("search --budget -5m", "must be greater than 0"),
    line("search --max-drop -1pp", "is negative"),
    line("search --sampler cma", "choose front, tpe, nsga2, gp, random"),
    line("search --target cpuu", "did you mean 'cpu'?"),
    line("search --target cpu,cpuu", "did you mean 'cpu'?"),
    line("search --target cpu,cpu", "names 'cpu' twice"),
    line("search --target cpu,", "has an empty name"),
    line("search --target nowhere.toml", "nowhere.toml"),
    line("search --max-latency cpuu=1ms", "names the target 'cpuu': choose 'cpu'"),
    line("search --max-size 1KB --max-size 2KB", "is given twice"),
    line("search --trials 0", "--trials 0 is too few"),
    line("search --validation-samples 3", "--validation-samples 3 is too few"),
    line("search --trials many", "--trials"),
    line("search --device tpu", "give auto, cpu, cuda or cuda:1"),
    line("search --deterministic --trials 3 --device cuda", "--deterministic computes on the CPU"),
    line("search --device cuda:99", "is not there: torch sees"),
    line("search --memory 8", "unit"),
    line("search --batch 0", "--batch 0 is no batch size"),
    line("search --seed -1", "--seed -1 is no seed"),
    line("search --task-arg data", "is no KEY=VALUE"),
    line("search --task-arg a=1 --task-arg a=2", "is given twice"),
    line("search --task-arg token=env:AUTOCOMPRESS_NOT_SET", "is not set: set it"),
    line("search --task-arg a=1", "Unknown task argument 'a'"),
    line("search --deterministic", "--deterministic needs --trials N"),
    line("search --from nowhere", "nowhere is no run directory"),
    line("search --bugdet 3m", "No such option"),
    line("search digits extra", "extra"),
    line("search digit", "did you mean 'digits'?"),
    line("search timm:", "needs the name of a model"),
    line("nightly", "There is no file nightly.toml"),
    line("search ultralytics:", "needs a model: write ultralytics:FILE.pt"),
    line("search ultralytics:nowhere.pt --task-arg data=d.yaml", "There is no model 'nowhere.pt'"),
    line("search nowhere.py:make", "There is no task file"),
    line("search exported", "Missing task argument"),
    line(
        "search image-folder --task-arg root=nowhere --task-arg model=a.py:b --task-arg checkpoint=c",
        "nowhere",
    ),
    line("serach", "No such command"),
    line("front", "Missing argument"),
    line("front nowhere", "nowhere is no run directory"),
    line("front nowhere --json --csv", "--json and --csv exclude each other"),
    line("report nowhere", "nowhere is no run directory"),
    line("drift nowhere log.jsonl", "nowhere is no bundle"),
    line("drift nowhere log.jsonl --max-latency 2", "has no unit"),
    line("drift bundle", "Missing argument"),
    line("runs nowhere", "There is no folder nowhere"),
    line("nights nowhere.toml", "There is no file nowhere.toml"),
    line("compare", "Missing argument"),
    line("compare nowhere", "nowhere is no directory"),
    line("compare nowhere there --policy best", "The policy 'best' is none: write it like"),
    line("compare nowhere there --policy fastest", 'write "fastest within 1pp"'),
    line("compare nowhere there --tolerance 2", "has no unit"),
    line("compare nowhere there --tolerance speed=2%", "choose latency, size, drop or energy"),
    line("init classifier task.txt", "must end in .py"),
    line("verify nowhere", "a run that `search` wrote, such as runs/NAME, or a bundle"),
    line("measure nowhere.onnx", "The model nowhere.onnx does not exist"),
    line("measure m.onnx --raw", "--raw is for --json"),
    line("measure m.onnx --target cpu,edge", "measure on one at a time"),
    line("measure m.onnx --target jetson@ann@", "has no host"),
    line("push nowhere mlflow:digits --tracking-uri sqlite:///m.db", "nowhere is no bundle"),
    line("push nowhere dir:models/digits", "nowhere is no bundle"),
    line("push nowhere digits", "is no registry: write it like mlflow:NAME"),
    line("push nowhere mlflow:a/b", "the name 'a/b' of the model must be letters"),
    line("push nowhere dir:models/digits --alias v3", "--alias 'v3' is no alias"),
    line("push nowhere dir:models/digits --run runs/x", "--run is for mlflow:NAME"),
    line("push nowhere ftp://ann:word@host/digits", "leave them out, and set them in the environment"),
    line("targets show cpuu", "did you mean 'cpu'?"),
    line("targets show jetson@ann@host:0", "the port '0'"),
    line("search --target cpu,jetson@-oX@host", "the user '-oX'"),
    line("targets calibrate cpuu", "did you mean 'cpu'?"),
    line("targets calibrate cpu digit", "did you mean 'digits'?"),
    line("targets calibrate cpu --budget 2", "has no unit"),
    line("targets calibrate cpu --check -1", "is no number of candidates"),
)


def _run(front: Path) -> None:
    write_run(front.parent, sample_run())


def _older_run(front: Path) -> None:
    _run(front)
    value = json.loads(front.read_text()) | {"schema_version": 99}
    front.write_text(json.dumps(value))


def _cut_run(front: Path) -> None:
    _run(front)
    front.write_text(front.read_text()[:5000])


def _other_weights(file: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), file)
    (file.parent / "images.py").write_text(
        "from torch import nn\ndef net(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())\n"
    )
    for split in ("train", "validation", "test"):
        folder = file.parent / "images" / split / "cat"
        folder.mkdir(parents=True)
        (folder / "1.png").write_bytes(b"no image")


def _whole_model(file: Path) -> None:
    _other_weights(file)
    torch.save(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), file)


def _scripted(file: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(4, 2)), file)
    np.savez(file.parent / "data.npz", x=np.zeros((9, 4)), y=np.zeros(9))


_IMAGES = "search image-folder --task-arg root=images --task-arg model=images.py:net --task-arg checkpoint="
_PROGRAM = "search exported --task-arg data=data.npz --task-arg metric=accuracy --task-arg model="
_RUN, _SOURCE = "run/front.json", SOURCE.encode()

FILES = (
    with_file("search broken.py:make", "SyntaxError", "broken.py", b"def make(:\n"),
    with_file("search other.py:make", "No module named 'not_there'", "other.py", b"import not_there\n"),
    with_file("search task.py:mak", "has no function 'mak'", "task.py", b"def make(): ...\n"),
    with_file("search task.py", "needs the name of one of its functions", "task.py", b"def make(): ...\n"),
    with_file("search task.ipynb:make", "task.ipynb", "task.ipynb", b"{}"),
    with_file("search wrong.py:fine --max-size 1B", "--max-size 1 B cannot be reached", "wrong.py", _SOURCE),
    with_file(
        "search wrong.py:takes_five --batch 8", "takes batches of 5 only: leave --batch", "wrong.py", _SOURCE
    ),
    with_file("search wrong.py:fine --task-arg sed=1", "Unknown task argument 'sed'", "wrong.py", _SOURCE),
    with_file(
        "search wrong.py:no_fraction --max-drop 1pp",
        "give a share of the original's value, such as 1%, or a number in the metric's own unit",
        "wrong.py",
        _SOURCE,
    ),
    with_file("init text my_task.py", "exists, and is not overwritten", "my_task.py", b""),
    with_file("search --out file --dry-run", "file", "file", b""),
    with_file("measure text.onnx", "text.onnx", "text.onnx", b"no model"),
    with_file("measure empty.onnx", "empty.onnx", "empty.onnx", b""),
    with_file("measure folder.onnx", "folder.onnx", "folder.onnx/a", b""),
    with_file("search --target own.toml", "colour", "own.toml", b'inherits = "cpu"\ncolour = "red"\n'),
    with_file("search --target own.toml", "cpuu", "own.toml", b'inherits = "cpuu"\n'),
    with_file("search --target own.toml", "own.toml", "own.toml", b"inherits = \n"),
    with_file("search --target own.toml", "threads", "own.toml", b'inherits = "cpu"\nthreads = 0\n'),
    with_file("front run", "front.json", _RUN, _cut_run),
    with_file("front run", "front.json", _RUN, _older_run),
    with_file("front run", "run", "run/notes.txt", b""),
    with_file("front run --target edge", "choose 'cpu'", _RUN, _run),
    with_file("pick run --minimize cost", "choose latency, size or drop", _RUN, _run),
    with_file("pick run --max-latency 2", "has no unit", _RUN, _run),
    with_file("pick run --out run", "run", _RUN, _run),
    with_file("pick run --task digits", "--task is for --finetune", _RUN, _run),
    with_file("pick run --sign no.key", "There is no key no.key", _RUN, _run),
    with_file("pick run --sign run/front.json", "is no private key of OpenSSH", _RUN, _run),
    with_file("verify bundle --signer a.pub", "a.pub cannot be read", "bundle/manifest.json", b"{}"),
    with_file("verify run --signer a.pub", "--signer is for bundles", _RUN, _run),
    with_file("compare run", "There is nothing to compare with", _RUN, _run),
    with_file("compare run run --html run", "is a folder: give the name of a file", _RUN, _run),
    with_file("compare run nowhere", "nowhere is no directory", _RUN, _run),
    with_file("report run --against nowhere", "nowhere is no directory", _RUN, _run),
    with_file("report run --out run", "is a folder: give the name of a file", _RUN, _run),
    with_file("verify bundle", "copy the bundle again", "bundle/manifest.json", b"{}"),
    with_file("nightly", "unknown key 'kep': did you mean 'keep'?", "nightly.toml", b"kep = 3\n"),
    with_file("nightly", "it names no model", "nightly.toml", b""),
    with_file("nightly", "nightly.toml cannot be read", "nightly.toml", b"[model"),
    with_file("nightly", "a percentage", "nightly.toml", b"[model.a]\ntask = 'x'\ntrials = 1\nmargin = '2'"),
    with_file(
        "nightly", "nowhere.py", "nightly.toml", b"[model.a]\ntask = 'nowhere.py:make'\nbudget = '1m'\n"
    ),
    with_file(
        "rollback a", "Nothing of the model 'a' is", "nightly.toml", b"[model.a]\ntask = 'digits'\ntrials = 1"
    ),
    with_file("gc", "There are no nights", "nightly.toml", b"[model.a]\ntask = 'digits'\ntrials = 1"),
    with_file(f"{_IMAGES}net.pt", "net.pt", "net.pt", _other_weights),
    with_file(f"{_IMAGES}net.pt", "net.pt", "net.pt", _whole_model),
    with_file(f"{_IMAGES}text.pt", "There is no checkpoint 'text.pt': give", "net.pt", _other_weights),
    with_file(f"{_PROGRAM}net.pt2", "is a program of torch.jit", "net.pt2", _scripted),
    with_file(f"{_PROGRAM}net.pt2", "net.pt2", "net.pt2", b"no program"),
)

TASKS = tuple(of_task(name, words) for name, words in SAID.items())
WRONG = (*COMMAND_LINES, *TASKS, *FILES)
