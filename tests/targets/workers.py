"""Workers that are not quite the real one."""

import shutil
from pathlib import Path

from autocompress.targets.transport import WORKER


def changed_worker(folder: Path, module: str, old: str, new: str) -> Path:
    """A copy of the real worker in `folder` in which one module reads otherwise."""
    copy = folder / WORKER.name
    shutil.copytree(WORKER, copy)
    text = (copy / module).read_text()
    assert old in text
    (copy / module).write_text(text.replace(old, new))
    return copy
