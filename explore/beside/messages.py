"""What a search and the process that builds beside it say to each other. Each message is a line of JSON,
written and read here alone.

The search gives the child a BuilderConfig on the command line, then one recipe a line on standard input, with
what is wanted of it. The child answers each with lines of progress, and then with one result or failure. The
arrays of a check are too large for a line: they go through a file.
"""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ...compress.artifact import Artifact
from ...compress.compressor import BuildResult, BuiltFile
from ...compress.onnx_file.check import OutputCheck
from ...compress.options import FileFormat
from ...compress.recipe import Recipe
from ...errors import FailureKind, FailureStage, StageError
from ...files import write_bytes
from ...results.records.reading import Fields, parse

CHECK_PREFIX = "check-"  # of the files with the arrays of a check


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderConfig:
    """What the child needs: the task as on the command line, the formats of the files, the compressor's
    folders and that of checks, its cores. `dynamic` are the free dimensions: an input, one of its dimensions,
    the name.
    """

    task: str
    arguments: Mapping[str, str]
    formats: Sequence[FileFormat]
    seed: int
    memory_bytes: int | None
    device: str
    cache_dir: Path
    checks_dir: Path
    levels_dir: Path
    out_dir: Path
    cores: Sequence[int]
    dynamic: Sequence[tuple[int, int, str]] = ()

    def to_json(self) -> str:
        """One line for the child's command line."""
        paths = {
            name: str(getattr(self, name)) for name in ("cache_dir", "checks_dir", "levels_dir", "out_dir")
        }
        formats = [asdict(form) for form in self.formats]
        return json.dumps({**asdict(self), **paths, "formats": formats, "cores": list(self.cores)})

    @classmethod
    def from_json(cls, text: str) -> "BuilderConfig":
        """The configuration that `to_json` wrote."""
        fields = Fields(parse(text))
        return cls(
            task=fields.text("task"),
            arguments=fields.each("arguments", Fields.text),
            formats=[FileFormat(**form) for form in fields.value("formats")],
            seed=fields.value("seed"),
            memory_bytes=fields.value("memory_bytes"),
            device=fields.text("device"),
            cache_dir=Path(fields.text("cache_dir")),
            checks_dir=Path(fields.text("checks_dir")),
            levels_dir=Path(fields.text("levels_dir")),
            out_dir=Path(fields.text("out_dir")),
            cores=fields.value("cores"),
            dynamic=tuple((index, dim, name) for index, dim, name in fields.value("dynamic")),
        )


Wanted = Literal["build", "kl"]
Reply = str | float | BuildResult | StageError  # progress, a KL, what was built, a failure


def request_line(recipe: Recipe, wanted: Wanted) -> str:
    """What the search asks for."""
    return json.dumps({"recipe": recipe.to_json(), "wanted": wanted})


def read_request(line: str) -> tuple[Recipe, Wanted]:
    """What `request_line` wrote."""
    fields = Fields(parse(line))
    return Recipe.from_json(fields.value("recipe")), fields.choice("wanted", get_args(Wanted))


# --- written by the child


def progress_line(stage: str) -> str:
    """The stage that the child has reached."""
    return json.dumps({"progress": stage})


def failure_line(error: StageError) -> str:
    """A recipe that failed."""
    return json.dumps(
        {"error": str(error), "stage": error.stage, "kind": error.kind, "retryable": error.retryable}
    )


def kl_line(kl: float) -> str:
    """The probe's KL of a recipe in nats."""
    return json.dumps({"kl": kl})


def result_line(built: BuildResult, folder: Path) -> str:
    """What was built in each format; the arrays of the checks are written to files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [_file_json(form, file, folder) for form, file in built.by_format.items()]
    return json.dumps({"seconds": dict(built.seconds), "builds": files})


def _file_json(form: FileFormat, built: BuiltFile, folder: Path) -> dict[str, Any]:
    facts = {**asdict(built.artifact), "path": str(built.artifact.path)}
    checks = [_check_json(check, folder) for check in (built.check, *built.more_checks)]
    return {"format": asdict(form), "artifact": facts, "checks": checks}


def _check_json(check: OutputCheck, folder: Path) -> dict[str, Any]:
    handle, name = tempfile.mkstemp(suffix=".npz", prefix=CHECK_PREFIX, dir=folder)
    arrays = {f"input{index:03}": array for index, array in enumerate(check.inputs)}
    arrays |= {f"expected{index:03}": array for index, array in enumerate(check.expected)}
    arrays |= {f"unrounded{index:03}": array for index, array in enumerate(check.unrounded)}
    with os.fdopen(handle, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    return {"file": name, "tolerance": check.tolerance}


# --- read by the search


def read_reply(line: str) -> Reply:
    """What a line of the child says: the stage that it has reached, the recipe's KL, or its result.

    The files with the arrays of its checks are deleted.

    Raises OSError, ValueError or BadZipFile when the line or the file of a check is not whole.
    """
    fields = Fields(parse(line))
    if fields.has("progress"):
        return fields.text("progress")
    if fields.has("kl"):
        return fields.number("kl")
    if fields.has("error"):
        return StageError(
            fields.text("error"),
            stage=fields.choice("stage", get_args(FailureStage)),
            kind=fields.choice("kind", get_args(FailureKind)),
            retryable=fields.flag("retryable"),
        )
    files = dict(_read_file(file) for file in fields.objects("builds"))
    return BuildResult(by_format=files, seconds=fields.each("seconds", Fields.amount))


def _read_file(fields: Fields) -> tuple[FileFormat, BuiltFile]:
    first, *others = [_read_check(check) for check in fields.objects("checks")]
    artifact = Artifact(**fields.value("artifact"))
    artifact = replace(artifact, path=Path(artifact.path))
    built = BuiltFile(artifact=artifact, check=first, more_checks=tuple(others))
    return FileFormat(**fields.value("format")), built


def _read_check(fields: Fields) -> OutputCheck:
    path = Path(fields.text("file"))
    with np.load(path, allow_pickle=False) as arrays:
        names = sorted(arrays.files)
        inputs, expected, unrounded = (
            tuple(arrays[name] for name in names if name.startswith(kind))
            for kind in ("input", "expected", "unrounded")
        )
    path.unlink()
    tolerance = fields.number("tolerance")
    return OutputCheck(inputs=inputs, expected=expected, tolerance=tolerance, unrounded=unrounded)


# --- between machines


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A line as above whose paths are names of `files`, and their contents."""

    line: str
    files: Mapping[str, bytes]


def packed(built: BuildResult, folder: Path) -> Packed:
    """What was built, to be sent elsewhere; its files here are deleted. `folder` is for those of checks."""
    line = result_line(built, folder)
    paths = [file.artifact.path for file in built.by_format.values()]
    paths += [Path(check["file"]) for build in json.loads(line)["builds"] for check in build["checks"]]
    files = {path.name: path.read_bytes() for path in paths}
    for path in paths:
        path.unlink(missing_ok=True)
    return Packed(line=line, files=files)


def unpacked(sent: Packed, *, out_dir: Path, checks_dir: Path) -> BuildResult | StageError:
    """What was built or why nothing was, its artifacts in `out_dir`. ValueError, OSError or BadZipFile when
    that is not whole.
    """
    value = json.loads(sent.line)
    checks_dir.mkdir(parents=True, exist_ok=True)
    for build in value.get("builds", ()):
        build["artifact"]["path"] = str(_placed(build["artifact"]["path"], sent, out_dir))
        for check in build["checks"]:
            check["file"] = str(_placed(check["file"], sent, checks_dir))
    reply = read_reply(json.dumps(value))
    assert isinstance(reply, (BuildResult, StageError))
    return reply


def _placed(path: str, sent: Packed, folder: Path) -> Path:
    """The path of a file that was sent, now in `folder`."""
    name = Path(path).name
    if name not in sent.files:
        raise ValueError(f"{name} was not sent.")
    write_bytes(folder / name, sent.files[name])
    return folder / name
