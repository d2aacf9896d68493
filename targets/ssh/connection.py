"""Connection: one OpenSSH client, one agent behind it, requests and replies between them.

A request is a JSON line, perhaps with a file behind it; replies come in any order and find their caller by a
number. Two threads serve it: one reads, the other one pings, because an agent that hears nothing for a minute
ends, and so does a connection on which nothing moves. Nothing here knows workers, targets or what is asked.
"""

import contextlib
import hashlib
import itertools
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from ...scratch import temporary_file
from .reply import Hello, Message, Reply

START_S = 60.0  # for the client, the login and the agent
PING_S = 10.0
SILENCE_S = 45.0  # without a byte in either direction, and the connection is given up
_HELLO = b"autocompress-agent "
_LONGEST_BANNER = 1 << 20  # what a login shell may print before the agent speaks
_LONGEST_LINE = 1 << 20
_CHUNK = 1 << 16


class ConnectionLost(Exception):  # noqa: N818 - a state, like TargetUnavailable
    """The connection ended. `text` is what the client said, `code` its exit code (None: it was given up)."""

    def __init__(self, text: str, code: int | None):
        super().__init__(text.strip() or f"exit code {code}")
        self.text = text
        self.code = code


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Somebody who waits for a reply; files in it go to `sinks` by key. None: the connection was lost; an
    OSError: this machine's disk did not take a file.
    """

    sinks: Mapping[str, Path]
    replies: "queue.SimpleQueue[Reply | OSError | None]" = field(default_factory=queue.SimpleQueue)


class Connection:
    """A connection that stands until it is lost or closed. `hello` is what the agent tells of its machine.

    Raises ConnectionLost, from the constructor too, and OSError if the client cannot be started.
    """

    def __init__(self, command: Sequence[str], agent: bytes):
        self._stderr: IO[bytes] = temporary_file()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,
        )
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._writing, self._state = threading.Lock(), threading.Lock()
        self._moved_at = time.monotonic()
        self._given_up = ""
        self._receiving = False  # files, behind which every reply waits
        self._stop = threading.Event()
        self.lost: ConnectionLost | None = None
        self.hello = Hello()
        self._waiting[0] = _Waiting({})  # for the hello
        first = self._waiting[0]
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._pulse)]
        for thread in self._threads:
            thread.start()
        try:
            with contextlib.suppress(OSError):  # the reading thread tells why
                self._write(agent)
            self._await(first, START_S)
        except BaseException:
            self.close()
            raise

    def call(
        self,
        op: str,
        *,
        wait_s: float,
        body: Path | None = None,
        sinks: Mapping[str, Path] | None = None,
        **fields: Any,
    ) -> Reply:
        """The agent's reply. `body` is a file whose bytes follow; files in the reply are written to `sinks`.

        It must begin within `wait_s`. While files of any reply arrive it is waited for, however slow the link
        is. An OSError of this machine's disk is raised as such.
        """
        number, waiting = next(self._numbers), _Waiting(sinks or {})
        with self._state:
            if self.lost is not None:
                raise self.lost
            self._waiting[number] = waiting
        size = {} if body is None else {"size": body.stat().st_size}
        line = json.dumps({"id": number, "op": op, **fields, **size}) + "\n"
        try:
            with self._writing:
                self._write(line.encode())
                if body is not None:
                    self._write_file(body, size["size"])
        except (OSError, ValueError):  # it ended; a file that cannot be read ends it, too
            self._give_up("the request could not be sent")
        except BaseException:  # Ctrl-C in the middle of a file: what is sent next would be taken for its rest
            self._give_up("a request was interrupted")
            raise
        return self._await(waiting, wait_s)

    def _await(self, waiting: _Waiting, wait_s: float) -> Reply:
        patience_s = wait_s
        while True:
            with contextlib.suppress(queue.Empty):
                reply = waiting.replies.get(timeout=patience_s)
                break
            if not self._receiving:
                self._give_up(f"no answer within {wait_s:g} s")
            patience_s = PING_S
        if reply is None:
            assert self.lost is not None
            raise self.lost
        if isinstance(reply, OSError):
            raise reply
        return reply

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        view = memoryview(data)
        while view:
            view = view[os.write(self._process.stdin.fileno(), view[:_CHUNK]) :]

    def _write_file(self, path: Path, size: int) -> None:
        """Writes exactly `size` bytes, whatever happens to the file meanwhile: its digest would tell."""
        remaining = size
        with path.open("rb") as file:
            while remaining:
                wanted = min(_CHUNK, remaining)
                chunk = (file.read(wanted) or bytes(wanted))[:remaining]
                self._write(chunk)
                remaining -= len(chunk)
                self._moved_at = time.monotonic()

    # --- the reading thread

    def _read(self) -> None:
        assert self._process.stdout is not None
        stream = self._process.stdout
        try:
            self.hello = self._read_hello(stream)
            self._deliver(0, Reply(ok=True))
            while line := stream.readline(_LONGEST_LINE):
                self._moved_at = time.monotonic()
                message = Message.from_line(line)
                reply = self._received(stream, message) if message.has_payload else message.reply
                self._deliver(message.number, reply)
        except EOFError:
            pass
        # a line that is none: something else speaks
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._given_up = self._given_up or f"it said something odd ({error})"
        finally:
            self._receiving = False
            self._lose()

    def _read_hello(self, stream: IO[bytes]) -> Hello:
        """The agent's first line, behind whatever the login shell printed."""
        banner = 0
        while line := stream.readline(_LONGEST_LINE):
            _, mark, facts = line.partition(_HELLO)
            if mark:
                return Hello.from_line(facts)
            banner += len(line)
            if banner > _LONGEST_BANNER:
                raise ValueError("the login shell does not stop printing")
        raise EOFError

    def _deliver(self, number: int, reply: Reply | OSError) -> None:
        with self._state:
            waiting = self._waiting.pop(number, None)
        if waiting is not None:
            waiting.replies.put(reply)

    def _received(self, stream: IO[bytes], message: Message) -> Reply | OSError:
        """A reply with its payload: the worker's line, then the files, which are verified. The last error of
        this machine's disk in its place, if there was one.
        """
        waiting = self._waiting.get(message.number)
        sinks = waiting.sinks if waiting else {}
        self._receiving = True
        line = b"".join(self._parts(stream, message.line_bytes))
        damaged, failure = [], None
        for file in message.files:
            parts = self._parts(stream, file.size)
            try:
                if _written(parts, sinks.get(file.key, Path(os.devnull))) != file.digest:
                    damaged.append(file.key)
            except OSError as error:
                failure = error
                for _ in parts:  # the rest must be read all the same
                    pass
        self._receiving = False
        return failure or replace(message.reply, line=line, damaged=tuple(damaged))

    def _parts(self, stream: IO[bytes], size: int) -> Iterator[bytes]:
        while size:
            part = stream.read(min(size, _CHUNK))
            if not part:
                raise EOFError("the connection ended in the middle of a file")
            self._moved_at = time.monotonic()
            size -= len(part)
            yield part

    def _lose(self) -> None:
        """The end: whoever waits is told why."""
        if self._given_up:
            self._kill()
        try:
            code: int | None = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._kill()
            code = None
        with self._state:
            self.lost = ConnectionLost(
                f"{self._said()}\n{self._given_up}".strip(), None if self._given_up else code
            )
            waiting, self._waiting = list(self._waiting.values()), {}
        for caller in waiting:
            caller.replies.put(None)

    def _said(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read(1 << 16).decode(errors="replace").strip()

    # --- the pulse

    def _pulse(self) -> None:
        ping = b'{"id": 0, "op": "ping"}\n'
        while not self._stop.wait(PING_S) and self.lost is None:
            if time.monotonic() - self._moved_at > SILENCE_S:
                self._give_up(f"nothing came for {SILENCE_S:g} s")
                return
            # otherwise a file is being sent, which is sign of life enough
            if self._writing.acquire(blocking=False):
                try:
                    self._write(ping)
                except (OSError, ValueError):  # it ended
                    return
                finally:
                    self._writing.release()

    def _give_up(self, why: str) -> None:
        self._given_up = self._given_up or why
        self._kill()

    def _kill(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Ends the agent with everything that it started, and the client."""
        self._stop.set()
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._kill()
            self._process.wait()
        for thread in self._threads:
            thread.join(timeout=10)
        self._process.stdout.close()
        self._stderr.close()


def _written(parts: Iterator[bytes], path: Path) -> str:
    """Writes the parts to a file; the SHA-256 of them all."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for part in parts:
            digest.update(part)
            file.write(part)
    return digest.hexdigest()
