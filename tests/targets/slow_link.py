"""A link between the SSH client and the server that is slow, or that goes silent: a TCP proxy on loopback."""

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Self


class SlowLink:
    """Forwards `port` to a server at `bytes_per_s` and `delay_s` in each direction; `silent` stops it without
    a word.
    """

    def __init__(self, server_port: int, *, bytes_per_s: float, delay_s: float = 0.0):
        self._server_port, self._bytes_per_s, self._delay_s = server_port, bytes_per_s, delay_s
        self.silent = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for item in self._sockets:
            with contextlib.suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)
            item.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
            except OSError:
                return
            self._sockets += [client, server]
            for source, target in ((client, server), (server, client)):
                source.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
                threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while chunk := source.recv(1 << 12):
                time.sleep(self._delay_s + len(chunk) / self._bytes_per_s)
                while self.silent.is_set():
                    time.sleep(0.05)
                target.sendall(chunk)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return
