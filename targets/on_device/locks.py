"""Where processes of one machine meet: a folder for lock files that TMPDIR, which differs between logins,
does not decide.

Standard library only, Python 3.8.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

VARIABLE = "AUTOCOMPRESS_LOCKS"  # names another folder, for everybody who shall meet there
# /tmp comes last: Slurm and systemd may give each process its own.
_FOLDERS = ("/run/lock", "/dev/shm", "/tmp")
_EVERYBODYS = stat.S_ISVTX | stat.S_IWOTH


def shared_folder() -> Path:
    """The folder that `AUTOCOMPRESS_LOCKS` names, else the machine's first one in which every user may make
    files.
    """
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE])
    for folder in map(Path, _FOLDERS):
        with contextlib.suppress(OSError):
            if folder.stat().st_mode & _EVERYBODYS == _EVERYBODYS and os.access(folder, os.W_OK):
                return folder
    return Path(tempfile.gettempdir())


def opened(path: Path) -> int:
    """A descriptor of a lock file that every user can open, made if it is not there. OSError says why it
    cannot be.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    with contextlib.suppress(FileNotFoundError):
        # without O_CREAT: in a sticky folder Linux refuses it on another user's file
        return os.open(path, flags)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".autocompress-") as made:
        os.fchmod(made.fileno(), 0o666)  # before others see it
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.link(made.name, path)
    return os.open(path, flags)
