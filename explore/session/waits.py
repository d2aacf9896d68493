"""What a command says while another process has the machine that it measures on."""

from pathlib import Path

from .progress import Progress


def search_in(directory: Path) -> str:
    """What others that wait for a search are told that it is."""
    return f"search {directory.resolve()}"


class WaitsShown:
    """Tells of waits: on the display while they last, and in one note for each process that is waited for.

    `remark` is what else a person should know of them.
    """

    def __init__(self, progress: Progress, *, remark: str = ""):
        self._progress, self._remark = progress, remark
        self._noted: set[str] = set()

    def __call__(self, holder: str) -> None:
        text = f"waiting for {holder}, which measures or trains"
        self._progress.waiting(text if holder else "")
        if holder and holder not in self._noted:
            self._noted.add(holder)
            self._progress.note(f"W{text[1:]}.{self._remark}")
