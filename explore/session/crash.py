"""CrashNote: a fatal signal (a segmentation fault, an abort) leaves a note, which the next session reads."""

import faulthandler
import sys
from pathlib import Path
from types import TracebackType
from typing import IO


class CrashNote:
    """Where Python writes what it did when a fatal signal ends it. A context manager; nothing stays when the
    session ends in any other way but a kill.

    `before` is the first line of what the last session left, empty if it left nothing.
    """

    def __init__(self, path: Path):
        self._path = path
        self._file: IO[str] | None = None
        self._shown = faulthandler.is_enabled()
        self.before = ""

    def __enter__(self) -> "CrashNote":
        if self._path.is_file():
            self.before = self._path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
        self._file = self._path.open("w", encoding="utf-8")
        faulthandler.enable(self._file)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        faulthandler.disable()
        if self._shown:  # by `python -X faulthandler`
            faulthandler.enable(sys.__stderr__ or 2)
        assert self._file is not None
        self._file.close()
        self._path.unlink(missing_ok=True)
