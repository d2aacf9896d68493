"""SshTransport: a worker on a board, behind the connection of a Board. Files go there by their digest, and
only once.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ...errors import InputError, TargetUnavailable
from ...scratch import temporary_folder
from .. import replies
from ..transport import FILES_IN, FILES_OUT, WORKER
from .board import Board, package_name, package_of
from .connection import Connection, ConnectionLost
from .errors import where
from .reply import Reply

_ALONE = ("measure", "profile")  # operations beside which no other worker is started
# Work that would disturb a measurement: models run for minutes, engines are built.
_SHARED = ("run", "optimized")
_GRACE_S = 60.0  # for the board to say that the worker's time is over
_CALL_S = 60.0
_TRIES_TO_PUSH = 3  # files may be removed by another coordinator between their push and their use


class SshTransport:
    """See Transport. After a drop of the connection a request is repeated once, in a new worker.

    `last_worker_s` is how long the worker itself took for the last request.
    """

    def __init__(self, board: Board, config: Mapping[str, object], *, worker: Path = WORKER):
        self._board, self._config, self._worker = board, dict(config), worker
        self._session: tuple[Connection, int] | None = None
        self._requests = 0
        self._gone = False
        self.last_worker_s = 0.0
        with contextlib.suppress(ConnectionLost):  # the first request connects again
            self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the worker, unless its connection is gone, which ended it."""
        session, self._session = self._session, None
        if session is not None and session[0].lost is None:
            with contextlib.suppress(ConnectionLost):
                session[0].call("close", session=session[1], wait_s=_CALL_S)

    def send(self, request: Mapping[str, object], *, timeout_s: float) -> dict[str, Any]:
        """See Transport. TargetUnavailable if the board is gone, or its disk full."""
        operation = str(request["op"])
        if self._gone:
            raise replies.failure(operation, "crash", "is gone")
        with contextlib.suppress(ConnectionLost):
            return self._ask(request, timeout_s)
        try:
            return self._ask(request, timeout_s)
        except ConnectionLost as lost:
            # TargetUnavailable if it is gone; a board that is back was brought down by the request
            self._board.connected()
            what = f"was lost twice with the connection to {where(self._board.address)} ({lost})"
            raise replies.failure(operation, "device", what) from lost

    def _ask(self, request: Mapping[str, object], timeout_s: float) -> dict[str, Any]:
        """The result of one request on the connection that there is now."""
        operation = str(request["op"])
        connection, session = self._opened()
        self._requests += 1
        files = {key: Path(str(request[key])) for key in FILES_IN if request.get(key)}
        outputs = {key: Path(str(request[key])) for key in FILES_OUT if request.get(key)}
        sinks = {key: path.with_name(f".{path.name}.part") for key, path in outputs.items()}
        try:
            reply = self._exchange(
                connection,
                files,
                session=session,
                request={**request, "id": self._requests},
                outputs={key: path.name for key, path in outputs.items()},
                sinks=sinks,
                timeout_s=timeout_s,
                longest=replies.LONGEST_REPLY,
                alone=operation in _ALONE,
                share=self._board.sharer() if operation in _SHARED else None,
                wait_s=timeout_s + _GRACE_S,
            )
            result = self._result(reply, operation, timeout_s)
            for key, path in outputs.items():
                if sinks[key].exists():
                    sinks[key].replace(path)
            return result
        except replies.RubbishError:
            self._gone = True
            self.close()
            raise
        finally:
            for sink in sinks.values():
                sink.unlink(missing_ok=True)

    def _exchange(self, connection: Connection, files: Mapping[str, Path], **request: Any) -> Reply:
        """The reply to a request, once all files that it needs are there, and nobody else measures if it
        would disturb that.
        """
        names = {key: _names(self._board, path) for key, path in files.items()}
        places = {name: path for key, path in files.items() for name, path in _places(names[key], path)}
        for _ in range(_TRIES_TO_PUSH):
            reply = self._board.when_free(
                connection, lambda: connection.call("request", files=names, **request)
            )
            if reply.ok or reply.kind != "missing":
                return reply
            for name in reply.names:
                self._board.put(connection, places[name], name, beside=list(places))
        raise TargetUnavailable(
            f"{where(self._board.address)} does not keep the files that it is given: too many searches share "
            "its disk."
        )

    def _result(self, reply: Reply, operation: str, timeout_s: float) -> dict[str, Any]:
        """The result in the agent's reply; StageError by what happened to the worker."""
        if reply.ok:
            self.last_worker_s = reply.worker_s
            if reply.damaged:
                raise replies.failure(operation, "device", "wrote a file that did not arrive whole")
            return replies.result_of(reply.line, operation, number=self._requests)
        match reply.kind:
            case "timeout":
                raise replies.timed_out(operation, timeout_s)
            case "still":
                raise replies.vanished(operation, reply.tail)
            case "long":
                raise replies.too_long(operation, replies.LONGEST_REPLY)
            case "died":
                raise replies.death(operation, code=reply.code, tail=reply.tail, oom=reply.oom)
            case "lock":
                self._board.require_locked(reply)
            case "closed":
                raise replies.failure(operation, "crash", "is closed")
        raise TargetUnavailable(f"{where(self._board.address)}: {reply.message}.")

    def _opened(self) -> tuple[Connection, int]:
        """The connection and the session's number; a session that went with its connection is opened
        again.
        """
        if self._session is None or self._session[0].lost is not None:
            self._open()
        assert self._session is not None
        return self._session

    def _open(self) -> None:
        connection, session = self._board.connected(), next(self._board.sessions)
        package, entry = package_of(self._worker)
        name = package_name(package)
        for _ in range(_TRIES_TO_PUSH):
            reply = connection.call(
                "open", session=session, package=name, entry=entry, config=self._config, wait_s=_CALL_S
            )
            if reply.ok:
                self._session = connection, session
                return
            if reply.kind != "missing":
                break
            with temporary_folder() as folder:
                path = folder / name
                path.write_bytes(package)
                self._board.put(connection, path, name)
        raise TargetUnavailable(
            f"The worker on {where(self._board.address)} does not start: {reply.message}."
        )


def _names(board: Board, path: Path) -> str | dict[str, str]:
    """The name of a file on the board, or those of a folder's arrays."""
    if not path.exists():
        raise InputError(f"The file {path} does not exist.")
    if path.is_dir():
        return {array.name: board.name_of(array) for array in sorted(path.glob("*.npy"))}
    return board.name_of(path)


def _places(names: str | dict[str, str], path: Path) -> list[tuple[str, Path]]:
    """(name on the board, path here) of a file, or of a folder's arrays."""
    if isinstance(names, str):
        return [(names, path)]
    return [(name, path / array) for array, name in names.items()]
