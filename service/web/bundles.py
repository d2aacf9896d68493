"""Bundles as ZIP files: made by the command `pick` in a process of its own, once for each artifact."""

import base64
import tempfile
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from ...files import digest_of, digest_of_file, replacing, write_text
from ...nightly.commands import Commands
from ...results.records.run import Run
from ...results.view import RunOn, views_of
from ..access.audit import record
from ..access.caller import Caller
from ..queue.job import ConflictError
from .front_state import NotThereError
from .state import Service

_PATIENCE_S = 600.0
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundled:
    """A bundle's file and its SHA-256."""

    path: Path
    sha256: str

    @classmethod
    def read(cls, path: Path) -> "Bundled":
        """A bundle that was made; its digest is kept beside it."""
        return cls(path=path, sha256=path.with_suffix(".sha256").read_text(encoding="utf-8").strip())

    @property
    def repr_digest(self) -> str:
        """The digest as RFC 9530 writes it."""
        return f"sha-256=:{base64.b64encode(bytes.fromhex(self.sha256)).decode()}:"


def view_of(run: Run, target: str | None) -> RunOn:
    """The run on a target, the first one where none is named. NotThereError for an unknown one."""
    try:
        return views_of(run)[0] if target is None else RunOn.of(run, target)
    except InputError as error:
        raise NotThereError(str(error)) from error


def note_bundle(service: Service, subject: str, caller: Caller, origin: str) -> None:
    """Writes into the audit log that somebody has a bundle."""
    with service.database.writing() as session:
        record(session, caller, "bundle", subject, origin=origin)


def bundle_of(service: Service, search_id: str, trial: int, target: str | None) -> Bundled:
    """The bundle of a point. NotThereError without the point, ConflictError in the words of `pick` when its
    file is gone.
    """
    view = view_of(service.run(search_id), target)
    point = next((one for one in view.points if one.trial == trial), None)
    if point is None:
        raise NotThereError(f"The search has no measured trial {trial}: /points lists them.")
    name = digest_of([trial, point.artifact.file, view.target.name])[:16]
    path = service.data / "bundles" / search_id / f"{name}.zip"
    with _one_at_a_time:
        if not path.with_suffix(".sha256").is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            _make(service, search_id, trial, target, path)
    return Bundled.read(path)


def _make(service: Service, search_id: str, trial: int, target: str | None, path: Path) -> None:
    run = service.run_folder(search_id)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        out = Path(folder) / "bundle"
        words = ["pick", str(run), "--trial", str(trial), "--out", str(out)]
        words += ["--target", target] if target else []
        log = service.data / "logs" / f"{search_id}.pick.log"
        done = Commands(service.data).run(words, log=log, seconds=_PATIENCE_S)
        if done.exit_code != 0:
            raise ConflictError(f"The bundle cannot be made: {done.reason}")
        with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as packed:
            for file in sorted(one for one in out.rglob("*") if one.is_file()):
                packed.write(file, f"bundle/{file.relative_to(out).as_posix()}")
    write_text(path.with_suffix(".sha256"), digest_of_file(path))
