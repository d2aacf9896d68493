"""Board: a machine that is reached over SSH. It connects when it is needed, again after a drop, and holds the
board's lock.
"""

import contextlib
import functools
import getpass
import hashlib
import io
import itertools
import json
import os
import socket
import threading
import time
import weakref
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ...errors import TargetUnavailable
from ...files import digest_of_file
from ...profiles.address import TargetAddress
from ..lease import WAITS
from ..on_device.agent.process import LOOK_S
from ..ray_node.command import node_command
from ..transport import WORKER
from .command import agent_command, on_board, ssh_command
from .connection import Connection, ConnectionLost
from .errors import BoardUnavailable, Trouble, doctor, trouble_of, where
from .reply import Hello, Reply

PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0)  # between the tries to connect again
LOCK_WAIT_S = 600.0
BUSY_WAIT_S = 20.0  # for the lock of a board that others need not wait for: a measurement takes a few seconds
_LOCK_POLL_S = 0.25
_CALL_S = 60.0
_UPLOAD_S = 86400.0  # a slow link is no reason to give up: silence is
# Modules of on_device, in the order in which they are loaded.
_AGENT = (
    "locks",
    "agent.lock",
    "agent.store",
    "agent.process",
    "agent.worker",
    "agent.sessions",
    "agent.agent",
)
_BOOT = """
import sys, types
if sys.version_info < (3, 8):
    python = (sys.executable, sys.version.split()[0])
    sys.exit("autocompress needs Python 3.8 or newer, but %s is %s" % python)
bundle = json.loads(d.decode())
for name in ("on_device", "on_device.agent"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = []
for name, source in bundle["modules"]:
    name = "on_device." + name
    module = sys.modules[name] = types.ModuleType(name)
    module.__package__ = name.rpartition(".")[0]
    exec(compile(source, name + ".py", "exec"), module.__dict__)
sys.modules["on_device.agent.agent"].main(bundle["settings"])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardSettings:
    """What an agent is told. `folder` (None: ~/.cache/autocompress/device there) holds at most `limit_bytes`
    of files, those in use not counted, and leaves `reserve_bytes` of the disk free. After `silence_s` without
    a sign of life the agent ends. `standby`: whether a worker is kept ready for the next session. Every
    `look_s` the agent looks whether a worker that is being waited for stands still.
    """

    folder: str | None = None
    limit_bytes: int = 4 << 30
    reserve_bytes: int = 64 << 20
    silence_s: float = 60.0
    standby: bool = True
    look_s: float = LOOK_S


class Board:
    """One board for the life of a Target; several workers may be open on its connection. Thread-safe.

    `patient` False: one try to connect again, and only BUSY_WAIT_S for the lock; whoever asks has other
    things to do meanwhile. `has_spare`: one try, too, since another board can do the same. `ssh_config`
    stands for `~/.ssh/config`. TargetUnavailable, from every method, says what is wrong and what mends it.
    """

    def __init__(
        self,
        address: TargetAddress,
        *,
        python: str = "python3",
        ssh_config: Path | None = None,
        settings: BoardSettings | None = None,
    ):
        self.address, self.python = address, python
        self.sessions = itertools.count(1)
        self._config, self._settings = ssh_config, settings or BoardSettings()
        self._guard, self._alone = threading.RLock(), threading.Lock()
        self._connection: Connection | None = None
        self._finish: weakref.finalize[..., Board] | None = None
        self._locked, self.patient, self.has_spare = False, True, False
        self._holder: int | None = None  # the thread that measures
        self._digests: dict[tuple[str, int, int, int], str] = {}

    def connected(self) -> Connection:
        """The connection, made if there is none, and again after a drop: with pauses, since a board needs
        time to start.
        """
        with self._guard:
            if self._connection is not None and self._connection.lost is None:
                return self._connection
            waits = self.patient and not self.has_spare
            pauses: Sequence[float] = PAUSES_S if waits else PAUSES_S[:1]
            if self._connection is None:
                pauses = ()
            self.close()
            for pause in (*pauses, None):
                try:
                    self._connection = connection = self._connect()
                    break
                except ConnectionLost as lost:
                    trouble = self._trouble_of(lost)
                    if pause is None or not trouble.passing:
                        raise BoardUnavailable(trouble) from lost
                time.sleep(pause)
            self._finish = weakref.finalize(self, connection.close)
            if self._locked:
                try:
                    self._lock(connection)
                except ConnectionLost as lost:
                    raise BoardUnavailable(self._trouble_of(lost)) from lost
            return connection

    def _connect(self) -> Connection:
        files = [WORKER / f"{name.replace('.', '/')}.py" for name in _AGENT]
        modules = [(name, file.read_text("utf-8")) for name, file in zip(_AGENT, files, strict=True)]
        settings = {**asdict(self._settings), "python": self.python}
        agent = json.dumps({"boot": _BOOT, "modules": modules, "settings": settings}).encode()
        remote = agent_command(self.python, length=len(agent))
        if self.address.on_cluster:
            command = node_command(self.address, remote)
        else:
            command = ssh_command(self.address, remote, config=self._config)
        try:
            connection = Connection(command, agent)
        except FileNotFoundError as error:
            remedy = "install it: sudo apt install openssh-client"
            raise BoardUnavailable(
                Trouble(name="ssh", message="There is no ssh on this machine", remedy=remedy)
            ) from error
        hello = connection.hello
        if hello.message:
            connection.close()
            remedy = self._room() if hello.error == "full" else ""
            raise self._unusable("disk", hello.message, remedy=remedy)
        return connection

    def _trouble_of(self, lost: ConnectionLost) -> Trouble:
        return trouble_of(lost.text, code=lost.code, address=self.address, python=self.python)

    def _unusable(self, name: str, problem: str, *, remedy: str = "") -> BoardUnavailable:
        """The error of a board that answers and does not do what it should. The remedy is the doctor if there
        is no better one.
        """
        message = f"{where(self.address)}: {problem}"
        return BoardUnavailable(Trouble(name=name, message=message, remedy=remedy or doctor(self.address)))

    def _room(self) -> str:
        """What mends a full disk."""
        limit = f"{self._settings.limit_bytes / 1e9:.1f} GB (store_limit_bytes in the target's TOML file)"
        return (
            f"free space there, see {on_board(self.address, 'df -h .')}; what was sent takes at most {limit}"
        )

    def close(self) -> None:
        """Ends the connection and everything that runs for it; the next use connects again."""
        with self._guard:
            if self._finish is not None:
                self._finish()

    @property
    def hello(self) -> Hello:
        """What the agent told of its machine when the connection was made."""
        return self.connected().hello

    def cores(self, threads: int) -> tuple[int, ...]:
        """The last `threads` cores that a process may use there."""
        available = self.hello.cores
        if len(available) < threads:
            raise TargetUnavailable(
                f"The target needs {threads} cores, but {where(self.address)} has only {len(available)}: "
                "choose a target with fewer threads."
            )
        return tuple(available[-threads:])

    # --- files

    def name_of(self, path: Path) -> str:
        """The name of a file on the board: the SHA-256 of its bytes and its suffix."""
        status, suffix = path.stat(), path.suffix
        key = (str(path), status.st_mtime_ns, status.st_size, status.st_ino)
        if key not in self._digests:
            self._digests[key] = digest_of_file(path)
        plain = suffix[1:].isascii() and suffix[1:].isalnum() and len(suffix) <= 9
        return self._digests[key] + (suffix if plain else "")

    def put(self, connection: Connection, path: Path, name: str, *, beside: Sequence[str] = ()) -> None:
        """Brings a file to the board, where none of those `beside` it makes room for it.

        ConnectionLost, or TargetUnavailable if its disk is full or bytes arrive damaged twice.
        """
        for _ in range(2):
            reply = connection.call("put", name=name, beside=list(beside), body=path, wait_s=_UPLOAD_S)
            if reply.ok:
                return
            if reply.kind == "full":
                raise self._unusable("disk", reply.message, remedy=self._room())
        raise self._unusable("disk", f"{path.name} did not arrive: {reply.message}")

    # --- the lock

    @contextlib.contextmanager
    def measuring(self) -> Iterator[None]:
        """Holds the board's lock alone: waits until nobody else works there. TargetUnavailable tells who does
        after 10 minutes.
        """
        with self._alone:
            self._locked = True
            try:
                try:
                    self._lock(self.connected())
                except ConnectionLost:
                    self.connected()  # which locks it again
                self._holder = threading.get_ident()
                yield
            finally:
                self._locked, self._holder = False, None
                self.unlock()

    def sharer(self) -> str | None:
        """In whose name work other than a measurement shares the lock; None where this thread holds it."""
        return None if self._holder == threading.get_ident() else _who("is running or building models")

    def unlock(self) -> None:
        """Lets go of the lock; with a connection that was lost, it is gone already."""
        if self._connection is not None and self._connection.lost is None:
            with contextlib.suppress(ConnectionLost):
                self._connection.call("unlock", wait_s=_CALL_S)

    def when_free(self, connection: Connection, ask: Callable[[], Reply]) -> Reply:
        """The reply to `ask`, which is asked again while others work there. TargetUnavailable tells who after
        10 minutes.
        """
        wait_s = LOCK_WAIT_S if self.patient else min(LOCK_WAIT_S, BUSY_WAIT_S)
        deadline, waited = time.monotonic() + wait_s, False
        try:
            with contextlib.ExitStack() as waits:
                while not (reply := ask()).ok and reply.kind == "busy":
                    if not waited:
                        waits.enter_context(WAITS.waiting(f"{reply.message} on {where(self.address)}"))
                    waited = True
                    if time.monotonic() > deadline:
                        raise TargetUnavailable(
                            f"{where(self.address)} is busy: {reply.message} there, and {wait_s:g} s were "
                            "not enough. Wait for it, or end it."
                        )
                    time.sleep(_LOCK_POLL_S)
        except BaseException:
            _leave(connection)
            raise
        if waited and not reply.ok:  # what was to work is gone
            _leave(connection)
        return reply

    def _lock(self, connection: Connection) -> None:
        self.require_locked(self.when_free(connection, lambda: _asked_for_lock(connection)))

    def try_lock(self, connection: Connection) -> str | None:
        """Takes the lock; otherwise, who works there. `unlock` in any case."""
        try:
            reply = _asked_for_lock(connection)
        except ConnectionLost as lost:
            raise BoardUnavailable(self._trouble_of(lost)) from lost
        if not reply.ok and reply.kind == "busy":
            return reply.message
        self.require_locked(reply)
        return None

    def holder(self) -> str | None:
        """Who works there now; None where nobody does."""
        try:
            with contextlib.suppress(BoardUnavailable):
                return self.try_lock(self.connected())
            return self.try_lock(self.connected())  # a connection that dropped meanwhile is made again
        finally:
            self.unlock()

    def require_locked(self, reply: Reply) -> None:
        """TargetUnavailable if the reply says that there can be no lock."""
        if not reply.ok:
            remedy = ""
            if reply.path is not None:
                look = on_board(self.address, f"ls -ld {reply.path.parent} {reply.path}")
                remedy = f"all users there must be able to write to it, see {look}"
            raise self._unusable("lock", f"it cannot be locked ({reply.message})", remedy=remedy)

    def look(self, *, modules: Sequence[str], tools: Sequence[str]) -> Reply:
        """`missing`: those of the Python modules; `sudo`: whether it runs all `tools` without a password;
        `free_bytes`.
        """
        try:
            return self.connected().call("look", modules=list(modules), tools=list(tools), wait_s=_CALL_S)
        except ConnectionLost as lost:
            raise BoardUnavailable(self._trouble_of(lost)) from lost


def package_of(worker: Path) -> tuple[bytes, str]:
    """The zip of a worker, a script or a folder, and its entry: equal files give equal bytes."""
    return _zipped(worker, tuple((path, path.stat().st_mtime_ns) for path in _sources(worker)))


def _sources(worker: Path) -> list[Path]:
    """The files that a device needs: modules, and what is known of the runtimes."""
    if not worker.is_dir():
        return [worker]
    return sorted([*worker.rglob("*.py"), *worker.rglob("*.json")])


@functools.lru_cache(maxsize=8)
def _zipped(worker: Path, sources: tuple[tuple[Path, int], ...]) -> tuple[bytes, str]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, _ in sources:
            archive.writestr(zipfile.ZipInfo(str(path.relative_to(worker.parent))), path.read_bytes())
    return buffer.getvalue(), worker.name


def package_name(package: bytes) -> str:
    """Its name on the board."""
    return hashlib.sha256(package).hexdigest() + ".zip"


def _asked_for_lock(connection: Connection) -> Reply:
    return connection.call("lock", who=_who("is measuring"), wait_s=_CALL_S)


def _leave(connection: Connection) -> None:
    """Others need not wait for somebody who does not ask again."""
    with contextlib.suppress(ConnectionLost):
        connection.call("leave", wait_s=_CALL_S)


def _who(does: str) -> str:
    return f"{getpass.getuser()}@{socket.gethostname()} (process {os.getpid()}) {does}"
