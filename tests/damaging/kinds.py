"""Each kind of input: real files of it, what uses them, and what of that must be as without damage."""

import functools
import gc
import json
import sqlite3
import tomllib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import torch
from autocompress.cli.commands import app
from autocompress.compress import Network
from autocompress.compress.levels.database import LevelDatabase
from autocompress.compress.onnx_file.template_cache import load_template
from autocompress.deploy.bundle import write_bundle
from autocompress.deploy.read_bundle import read_manifest, restored_model
from autocompress.deploy.unfinished import Unfinished
from autocompress.errors import AutocompressError, TargetUnavailable
from autocompress.explore.rungs.pool import Pool
from autocompress.explore.rungs.sensitivity_file import MeasuredLosses
from autocompress.explore.session.budget import Ledger
from autocompress.explore.session.clock import Clock
from autocompress.explore.state import Objectives
from autocompress.explore.study import SearchStudy
from autocompress.files import digest_of_file
from autocompress.profiles.latency_table import LatencyTable
from autocompress.profiles.measurement import SEARCH_TIMING
from autocompress.results.records.point import FineTuned
from autocompress.results.run_config import RunConfig
from autocompress.results.run_directory import (
    RunDirectory,
    choose_run,
    write_finetuned,
    write_run,
    write_verification,
)
from autocompress.results.view import RunOn
from autocompress.targets import measure_model
from autocompress.targets.store import MeasurementKey, MeasurementStore
from autocompress.tasks import load_weights
from autocompress.tests.damaging.damage import BINARY, TEXT
from autocompress.tests.deploy.small_run import small_run
from autocompress.tests.deploy.test_verify_files import ALL
from autocompress.tests.explore.rungs.test_pool import PROBLEM
from autocompress.tests.models import tiny_model
from autocompress.tests.profiles.records import ENVIRONMENT, measurement
from autocompress.tests.results.records import point
from autocompress.tests.targets import models
from torch import nn
from typer.testing import CliRunner

ARGUMENTS = RunConfig(identity={"task": "linear", "model": "5f" * 32}, options={"target": "cpu", "seed": 3})


class Refused(Exception):  # noqa: N818 - what a command did
    """A command ended with one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Files of a kind. `use` gives what a command makes of them, Refused or one of the project's errors.

    `parts`: a result may lack what is made again. `faithful` says whether another result is what the
    damaged file says: nothing but that can be asked of what a person writes.
    """

    name: str
    make: Callable[[Path], object]
    use: Callable[[Path], object]
    files: tuple[str, ...] = ("*",)
    ways: tuple[Callable[..., bytes], ...] = TEXT
    settle: Callable[[Path], None] = lambda folder: None
    parts: bool = False
    faithful: Callable[[Path, object], bool] = lambda folder, result: False


def said(*arguments: object) -> str:
    """What a command prints. Refused when it ends with one sentence and an exit code of the project."""
    ended = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    if ended.exit_code == 0:
        return ended.stdout
    lines = [line for line in ended.stderr.splitlines() if line.startswith("Error: ")]
    assert ended.exit_code in (1, 2, 3) and len(lines) == 1, (ended.exit_code, ended.output)
    raise Refused(lines[0])


# --- runs and bundles


def make_run(folder: Path) -> None:
    """A run with a fine-tuned point and a verification."""
    run = small_run(folder)
    write_run(folder, run)
    (folder / "run.toml").write_text(ARGUMENTS.to_toml())
    tuned = replace(run.points[1], trial=-1, finetuned=FineTuned(of=1, seconds=60.0))
    write_finetuned(folder, tuned)
    write_verification(folder, ALL)


def shown(folder: Path) -> object:
    """What `front --json` prints, and the report's page."""
    page = folder.with_name("report.html")
    text = said("front", folder, "--json")
    said("report", folder, "--out", page)
    return text, page.read_text()


def picked(folder: Path) -> object:
    """The digest of the model that `pick` writes."""
    out = folder.with_name("picked")
    for file in out.glob("*"):
        file.unlink()
    said("pick", folder, "--minimize", "size", "--out", out)
    return digest_of_file(out / "model.onnx")


def continued(folder: Path) -> object:
    """Whether the run is continued, and what changed."""
    return choose_run(folder, ARGUMENTS, fresh=False)[1]


def make_bundle(folder: Path, *, packed: bool = False) -> None:
    """A bundle."""
    run_folder = folder.with_name("run-of-bundle")
    each = RunOn.of(small_run(run_folder), "cpu").points[1]
    folder.rmdir()
    write_bundle(each, run_folder / each.artifact.file, folder, packed=packed)


def opened(folder: Path) -> object:
    """The manifest and the digest of the restored model, as `verify` reads them before it measures."""
    with patch(
        "autocompress.deploy.verify_bundle.usable_target", side_effect=TargetUnavailable("far enough")
    ):
        try:
            said("verify", folder)
        except Refused as refusal:
            if "far enough" not in str(refusal):
                raise
    manifest = read_manifest(folder)
    return manifest, digest_of_file(restored_model(folder, manifest, folder.parent))


def reseal(folder: Path) -> None:
    """SHA256SUMS as somebody makes them who changes files on purpose."""
    files = sorted(path for path in folder.iterdir() if path.name != "SHA256SUMS" and path.is_file())
    lines = [f"{digest_of_file(path)}  {path.name}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines))


# --- what users bring


def network() -> nn.Module:
    """A small model."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 30), nn.BatchNorm1d(30), nn.Linear(30, 4))


def weights_of(folder: Path, name: str) -> object:
    """The bytes of all weights after loading."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(20, 30), nn.BatchNorm1d(30), nn.Linear(30, 4))
    state = load_weights(model, folder / name).state_dict()
    return {key: value.numpy().tobytes() for key, value in state.items()}


def make_old(folder: Path) -> None:
    """A checkpoint in torch's old format under its digest."""
    torch.save(network().state_dict(), folder / "w.pth", _use_new_zipfile_serialization=False)
    (folder / "w.pth").rename(folder / f"w-{digest_of_file(folder / 'w.pth')[:16]}.pth")


def old_weights(folder: Path) -> object:
    """The weights of the only file."""
    (file,) = folder.iterdir()
    return weights_of(folder, file.name)


TOML = """\
description = "A board"
inherits = "cpu"
threads = 1
opset = 21
precisions = ["float32", "int8"]
channel_multiple = 8
memory_limit_bytes = 1000000000

[datasheet]
source = "a leaflet"
peak_flops = { float32 = 2.09e12, int8 = 33.4e12 }
memory_bytes = 8000000000
memory_bytes_per_s = 102000000000.0
"""


def says_what_the_file_says(folder: Path, result: object) -> bool:
    """Whether the target that is shown has the values that the TOML file gives."""
    written = tomllib.loads((folder / "board.toml").read_text())
    profile = json.loads(str(result))
    return all(_same(value, profile.get(key)) for key, value in written.items() if key != "inherits")


def _same(written: Any, given: Any) -> bool:
    if isinstance(written, dict):
        return isinstance(given, dict) and all(_same(value, given.get(key)) for key, value in written.items())
    return bool(written == given)


def measured(folder: Path) -> object:
    """The digest of the file that `measure` names: the measurement itself is never the same."""
    quick = replace(SEARCH_TIMING, pairs_min=3, pairs_max=3, max_s=1.0)
    short = patch("autocompress.targets.measure_model", functools.partial(measure_model, timing=quick))
    with short, patch("autocompress.targets.control.TOLERANCE", 100.0):  # beside other tests
        text = said("measure", folder / "model.onnx", "--json")
    return json.loads(text)["artifact_digest"]


def is_of_the_file(folder: Path, result: object) -> bool:
    """Whether the measurement belongs to the file as it is."""
    return result == digest_of_file(folder / "model.onnx")


# --- caches and files of a search

MEASURED = [measurement(0.5, 0.51, artifact_digest=name) for name in "abc"]


def make_store(folder: Path) -> None:
    """Three measurements."""
    store = MeasurementStore(folder / "m.db")
    for each in MEASURED:
        store.put(each)


def stored(folder: Path) -> object:
    """What the store has, and that it takes what it lost."""
    store = MeasurementStore(folder / "m.db")
    values = {each.artifact_digest: store.get(MeasurementKey.of(each)) for each in MEASURED}
    for each in MEASURED:
        assert store.put(each) == each
    return {key: value for key, value in values.items() if value is not None}


@functools.cache
def network_of_levels() -> Network:
    """A small network, traced once."""
    row = tiny_model("residual")
    return Network.trace(row.build(), row.example_inputs())


def levels_of(folder: Path) -> LevelDatabase:
    """A level database of it that has read nothing yet."""
    inputs = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return LevelDatabase(network_of_levels(), lambda: [(inputs,)], directory=folder)


def levels(folder: Path) -> object:
    """Weights of two levels, read anew."""
    database = levels_of(folder)
    names = [layer.name for layer in database.network.layers][:2]
    return [database.level(name, bits=4).weight().numpy().tobytes() for name in names]


def make_table(folder: Path) -> None:
    """A latency table of three observations."""
    table = table_in(folder)
    for number in range(3):
        table.observe("model", {"keep": number}, 0.5 + 0.1 * number, 0.01)


def table_in(folder: Path) -> LatencyTable:
    """The table of a device."""
    return LatencyTable.of_device(folder, profile_fingerprint="p", environment=ENVIRONMENT)


def observed(folder: Path) -> object:
    """What the table knows, and that it goes on."""
    table = table_in(folder)
    known = {item.candidate["keep"]: item.ratio for item in table.observations("model")}
    copies = LatencyTable.of_profile(folder, profile_fingerprint="p")
    assert all({o.candidate["keep"]: o.ratio for o in c.observations("model")} == known for c in copies)
    table.observe("model", {"keep": 9}, 0.5, 0.01)
    return known


def make_sensitivity(folder: Path) -> None:
    """Sensitivities."""
    kept = MeasuredLosses(folder / "s.json", {"a" * 64: 0.25, "b" * 64: 0.5}, {"c" * 64})
    kept._write()


def place(folder: Path) -> RunDirectory:
    """The folder as a run directory."""
    return cast(RunDirectory, SimpleNamespace(path=folder))


def make_pool(folder: Path) -> None:
    """Candidates of r0."""
    pool = Pool.open(place(folder), PROBLEM)
    for first in range(3):
        for second in range(4):
            pool.add((first, second), 0.1 * (1 + first) * (1 + second))


def make_clock(folder: Path) -> None:
    """A clock and the ledger of its time."""
    with Clock(folder / "elapsed") as clock:
        Ledger.open(place(folder), clock).add({"validation": 12.5, "build": 3.5})


def spent(folder: Path) -> object:
    """Seconds by activity, and whether the clock goes on from near 0."""
    clock = Clock(folder / "elapsed")
    return {**Ledger.open(place(folder), clock).seconds, "near": clock.elapsed_s < 60}


TOLD = Objectives(values=(0.1, 0.2, 0.5), constraints={})


def make_study(folder: Path) -> None:
    """A study with two points."""
    study = SearchStudy.open(folder / "study.db", sampler="random", seed=0)
    for number in range(2):
        trial = study.ask({"x": number})
        trial.suggest_int("x", 0, 3)
        study.store(trial, point(number))
        study.finish(trial, TOLD)
    del study, trial
    gc.collect()  # closes its connections
    with closing(sqlite3.connect(folder / "study.db")) as connection:
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


def points(folder: Path) -> object:
    """What the study knows."""
    study = SearchStudy.open(folder / "study.db", sampler="random", seed=0)
    study.adopt(lambda trial, told: study.finish(trial, TOLD))
    known = study.points()
    return {"points": known} if known else {}  # a lost study is rebuilt from front.json


def make_template(folder: Path) -> None:
    """A template in the cache."""
    from autocompress.compress import Compressor, Recipe
    from autocompress.tests.compress.tasks import tiny_task

    task = tiny_task("mlp")
    compressor = Compressor(task, Network.trace(task.model, task.example_inputs), cache_dir=folder)
    compressor.build(Recipe(), folder.parent)


def template(folder: Path) -> object:
    """The bytes of the template, nothing where it is made again."""
    name = next(path for path in folder.iterdir() if path.name.startswith("template-")).stem
    made = load_template(folder, name.removeprefix("template-"))
    return {} if made is None else {"model": made.model.SerializeToString(), "places": made.parameters}


def make_unfinished(folder: Path) -> None:
    """An interrupted verification."""
    kept = Unfinished.open(folder, ["cpu cpu"])
    kept.keep("cpu", kept.target("cpu", "5f", ENVIRONMENT))


def unfinished(folder: Path) -> object:
    """What it has measured."""
    return Unfinished.open(folder, ["cpu cpu"])._targets


def save_model(folder: Path) -> None:
    """An ONNX file of somebody."""
    models.linear(folder / "model.onnx", batch=1, width=64)


KINDS = (
    Kind(
        name="run directory",
        make=make_run,
        use=shown,
        files=("front.json", "front.json", "finetuned/1.json", "verify.json"),
    ),
    Kind(name="run: artifacts", make=make_run, use=picked, files=("artifacts/*.onnx",), ways=BINARY),
    Kind(name="run.toml", make=make_run, use=continued, files=("run.toml",), parts=True),
    Kind(name="bundle", make=make_bundle, use=opened),
    Kind(
        name="packed bundle, new checksums",
        make=functools.partial(make_bundle, packed=True),
        use=opened,
        files=("model.packed",),
        ways=BINARY,
        settle=reseal,
    ),
    Kind(
        name="checkpoint",
        make=lambda folder: torch.save(network().state_dict(), folder / "w.pt"),
        use=lambda folder: weights_of(folder, "w.pt"),
        ways=BINARY,
    ),
    Kind(name="checkpoint before torch 1.6", make=make_old, use=old_weights, ways=BINARY),
    Kind(
        name="target (TOML)",
        make=lambda folder: (folder / "board.toml").write_text(TOML),
        use=lambda folder: said("targets", "show", folder / "board.toml", "--json"),
        faithful=says_what_the_file_says,
    ),
    Kind(name="ONNX file", make=save_model, use=measured, ways=BINARY, faithful=is_of_the_file),
    Kind(name="measurements (SQLite)", make=make_store, use=stored, ways=BINARY, parts=True),
    Kind(name="study (SQLite)", make=make_study, use=points, files=("study.db",), ways=BINARY, parts=True),
    Kind(name="level database", make=levels, use=levels, files=("*/*/*.safetensors",), ways=BINARY),
    Kind(name="template cache", make=make_template, use=template, parts=True),
    Kind(name="latency table", make=make_table, use=observed, files=("*.json",), parts=True),
    Kind(
        name="sensitivity",
        make=make_sensitivity,
        use=lambda folder: MeasuredLosses.load(folder / "s.json").values,
        parts=True,
    ),
    Kind(
        name="pool of r0",
        make=make_pool,
        use=lambda folder: Pool.open(place(folder), PROBLEM).kls,
        parts=True,
    ),
    Kind(name="clock and ledger", make=make_clock, use=spent, parts=True),
    Kind(name="unfinished verification", make=make_unfinished, use=unfinished, parts=True),
)
ERRORS = (Refused, AutocompressError)
