"""A service of tests: real uvicorn in a thread, a real database, requests over loopback."""

import http.client
import json
import os
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from autocompress.nightly.commands import PROGRAM
from autocompress.service.access.rates import Rates
from autocompress.service.access.tokens import Access
from autocompress.service.config import ServeConfig, read_serve_config
from autocompress.service.database.opened import open_database
from autocompress.service.nights.files import NightFiles
from autocompress.service.nights.runner import NightRunner
from autocompress.service.queue.claims import Claims
from autocompress.service.queue.jobs import Jobs
from autocompress.service.serving import sign_in_of, uploads_of
from autocompress.service.tasks import Tasks
from autocompress.service.web.app import make_app
from autocompress.service.web.drawing.drawn import Drawings
from autocompress.service.web.state import Service


@dataclass
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Served:
    """The service at `url`; `ask` sends a request as it is."""

    url: str
    service: Service

    def token(self, user: str = "ana", scope: str = "submit") -> str:
        return self.service.access.make(user, scope)

    def ask(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, **headers: str
    ) -> Answer:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        if isinstance(body, dict | list):
            body = json.dumps(body)
            sent.setdefault("Content-Type", "application/json")
        connection.request(method, path, body=body, headers=sent)
        answer = connection.getresponse()
        result = Answer(answer.status, answer.headers, answer.read())
        connection.close()
        return result


@contextmanager
def served(data: Path, config: ServeConfig | None = None, **settings: Any):
    """A service with its data in a folder, until the block ends."""
    config = config or read_serve_config(None)
    database = open_database(settings.pop("database", None), data=data)
    (data / "logs").mkdir(exist_ok=True)
    tasks = Tasks.of(config)
    night_files = NightFiles(config.listed.nightly, tasks)
    program = settings.pop("program", PROGRAM)
    service = Service(
        night_files=night_files,
        night_runner=NightRunner(
            night_files, database, config.listed, data=data, variables=os.environ, program=program
        ),
        data=data,
        database=database,
        access=Access(database),
        jobs=Jobs(database, tells=config.listed.events, most_bytes=config.limits.disk_bytes),
        claims=Claims(database, tells=config.listed.events, lease_s=settings.pop("lease_s", 60.0)),
        tasks=tasks,
        uploads=uploads_of(data, config.limits),
        drawings=Drawings(data / "drawn"),
        sign_in=sign_in_of(config),
        traces=settings.pop("traces", None),
        rates=settings.pop("rates", Rates(1e6, 1e6)),
        logins=Rates(1e6, 1e6),
    )
    app = make_app(service)
    for name, value in settings.items():
        object.__setattr__(app, name, value)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Served(f"http://127.0.0.1:{port}", service)
    finally:
        service.stopping.set()
        server.should_exit = True
        thread.join(20)
        service.drawings.close()
        service.night_runner.stop()
        database.close()
