"""`autocompress serve`: the database, the web server, and a worker beside it, until a signal ends them."""

import ipaddress
import logging
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from ..errors import InputError
from ..nightly.commands import PROGRAM, end_with
from ..results.run_lock import locked, require_writable
from ..text.secrets import hide
from .access.rates import Rates
from .access.tokens import Access
from .config import ServeConfig, ServeLimits
from .database.opened import open_database
from .nights.files import NightFiles
from .nights.runner import NightRunner
from .queue.claims import Claims
from .queue.jobs import Jobs
from .tasks import Tasks
from .telling.sender import Sender
from .traces import traces_of
from .uploads import Uploads
from .web.app import make_app
from .web.drawing.drawn import Drawings
from .web.state import Service
from .work.child import environment

if TYPE_CHECKING:
    from .access.oidc import SignIn

Say = Callable[[str], None]
_PATIENCE_S = 330.0  # a search stops at a safe place
_LOGIN = "admin"
_WORKERS = 10  # times as many requests as others may make, for all workers of one token


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How the service runs. `worker`: whether one works beside it. `lease_s` is how long workers may be
    silent. `proxies` are the addresses whose forwarded headers are believed.
    """

    data: Path
    config: ServeConfig
    config_file: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8700
    database: str | None = None
    worker: bool = True
    lease_s: float = 60.0
    certificate: Path | None = None
    key: Path | None = None
    proxies: str = ""


def serve(settings: Serving, *, say: Say, show: Say) -> None:
    """Serves until SIGTERM or Ctrl-C; searches that run then stop at a safe place. `show` prints the first
    token, `say` what a person should know. InputError for what cannot work, before anything listens.
    """
    require_writable(settings.data, elsewhere="give --data a folder that can be written")
    settings.data.chmod(0o700)
    with (
        locked(settings.data, by="serve", remedy="stop it, or give another --data", name="serve.lock"),
        _listening(settings) as listening,
    ):
        service = _service(settings)
        if not service.access.any_token():
            if not _loopback(settings.host):
                raise InputError(
                    f"--host {settings.host} would let others in, and there is no token yet: "
                    "`autocompress serve --token-for NAME` makes one."
                )
            show(f"Token (shown once): {service.access.make(_LOGIN, 'admin')}")
        say(f"autocompress serves at {_address(settings, listening)}, data in {settings.data}")
        service.claims.renew_all()
        sender = Sender(service.database, settings.config.listed, _secrets(settings.config))
        sender.start()
        service.night_runner.start()
        _run(settings, service, listening, say)
        service.night_runner.stop()
        sender.stop()
        service.drawings.close()
        if service.traces is not None:
            service.traces.close()
        service.database.close()


def make_token(data: Path, database: str | None, user: str, scope: str, *, lasts_s: float | None) -> str:
    """A new token for a user of the service with this data folder or database, which may run meanwhile."""
    require_writable(data, elsewhere="give --data a folder that can be written")
    opened = open_database(database, data=data)
    try:
        return Access(opened).make(user, scope, lasts_s=lasts_s)
    finally:
        opened.close()


def _service(settings: Serving) -> Service:
    (settings.data / "runs").mkdir(exist_ok=True)
    (settings.data / "logs").mkdir(exist_ok=True)
    database = open_database(settings.database, data=settings.data)
    limits = settings.config.limits
    tasks = Tasks.of(settings.config)
    night_files = NightFiles(settings.config.listed.nightly, tasks)
    return Service(
        night_files=night_files,
        night_runner=NightRunner(
            night_files,
            database,
            settings.config.listed,
            data=settings.data,
            variables=environment(os.environ, settings.config.environment),
        ),
        data=settings.data,
        database=database,
        access=Access(database),
        jobs=Jobs(
            database,
            most_live=limits.live_jobs,
            most_bytes=limits.disk_bytes,
            tells=settings.config.listed.events,
        ),
        claims=Claims(
            database,
            lease_s=settings.lease_s,
            most_running=limits.running_jobs,
            tells=settings.config.listed.events,
        ),
        tasks=tasks,
        uploads=uploads_of(settings.data, limits),
        rates=Rates(limits.requests_per_second, 4 * limits.requests_per_second),
        work_rates=Rates(_WORKERS * limits.requests_per_second, 4 * _WORKERS * limits.requests_per_second),
        drawings=Drawings(settings.data / "drawn"),
        secure=settings.certificate is not None,
        sign_in=sign_in_of(settings.config),
        traces=traces_of(os.environ),
    )


def uploads_of(data: Path, limits: ServeLimits) -> Uploads:
    """The uploads below a folder of data."""
    uploads = Uploads(
        folder=data / "weights", largest_bytes=limits.upload_bytes, most_bytes=limits.uploads_bytes
    )
    uploads.sweep()
    return uploads


def sign_in_of(config: ServeConfig) -> "SignIn | None":
    """Logins by the provider that serve.toml names. InputError for what is missing."""
    if config.provider is None:
        return None
    try:
        from .access.oidc import SignIn
    except ImportError as error:
        raise InputError(
            f"[oidc] in serve.toml needs {error.name}: pip install 'autocompress[oidc]'."
        ) from error
    variable = config.provider.secret
    return SignIn(config.provider, None if variable is None else _secret(variable))


def _secret(name: str) -> str:
    """What an environment variable has, which no log shows from then on. InputError where it is not set."""
    value = os.environ.get(name)
    if not value:
        raise InputError(f"serve.toml names the environment variable {name}, which is not set: set it.")
    for word in value.split():
        hide(word)
    return value


def _secrets(config: ServeConfig) -> dict[str, str]:
    """The variables that webhooks and messages need. InputError for one that is not set."""
    names = [hook.secret for hook in config.listed.hooks.values()]
    names += [] if config.listed.notify is None else [config.listed.notify.addresses]
    return {name: _secret(name) for name in names}


def _listening(settings: Serving) -> socket.socket:
    """The socket; InputError when it cannot be had."""
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((settings.host, settings.port))
        listening.listen()  # what comes before the server is ready waits
    except OSError as error:
        listening.close()
        raise InputError(
            f"{settings.host}:{settings.port} cannot be listened on ({error.strerror or error}): "
            "give another --port or --host."
        ) from error
    return listening


def _run(settings: Serving, service: Service, listening: socket.socket, say: Say) -> None:
    _log_requests(settings.data / "logs" / "requests.jsonl")
    config = uvicorn.Config(
        make_app(service, host=settings.host),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=settings.proxies or "127.0.0.1",
        timeout_graceful_shutdown=5,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
        h11_max_incomplete_event_size=64 << 10,
    )
    beside = Beside(settings, service, _address(settings, listening), say) if settings.worker else None
    _Server(config, service, beside, say).run(sockets=[listening])


def _log_requests(file: Path) -> None:
    """Writes a line of JSON for each request, 80 MB at most; no header and no query is in it."""
    logger = logging.getLogger("autocompress.service.requests")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(RotatingFileHandler(file, maxBytes=16 << 20, backupCount=4, encoding="utf-8"))


class _Server(uvicorn.Server):
    """Ends the worker first, which must tell how its search stopped, and then the server."""

    def __init__(self, config: uvicorn.Config, service: Service, beside: "Beside | None", say: Say):
        super().__init__(config)
        self._service, self._beside, self._say = service, beside, say

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, and starts the worker."""
        await super().startup(sockets)
        if self._beside is not None and self.started:
            self._beside.start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal ends all of it in order, a second one at once."""
        if self._service.stopping.is_set():
            super().handle_exit(sig, frame)
            return
        self._service.stopping.set()
        threading.Thread(target=self._end, daemon=True).start()

    def _end(self) -> None:
        self._say(
            "The service ends: the search that runs stops at a safe place, and goes on at the next start."
        )
        if self._beside is not None:
            self._beside.stop()
        self.should_exit = True


class Beside:
    """The worker beside the service: a process of its own, started again when it ends."""

    def __init__(self, settings: Serving, service: Service, address: str, say: Say):
        self._settings, self._service, self._address, self._say = settings, service, address, say
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._token = ""

    def start(self) -> None:
        """Starts it."""
        self._token = self._service.access.make("worker", "work")
        self._thread.start()

    def stop(self) -> None:
        """Ends it, and with it safely the search that it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._service.access.revoke(self._token)

    def _keep(self) -> None:
        wait_s = 1.0
        while not self._service.stopping.is_set():
            began = time.monotonic()
            code = self._once()
            if self._service.stopping.is_set():
                return
            wait_s = 1.0 if time.monotonic() - began > 60 else min(60.0, 2 * wait_s)
            self._say(f"The worker ended with exit code {code}: it is started again.")
            self._service.stopping.wait(wait_s)

    def _once(self) -> int:
        settings, parent = self._settings, os.getpid()
        words = [
            "worker",
            "--server",
            self._address,
            "--name",
            "here",
            "--data",
            str(settings.data),
            "--shares-disk",
        ]
        words += ["--config", str(settings.config_file)] if settings.config_file else []
        with (settings.data / "logs" / "worker.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*PROGRAM, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**_without_secrets(), "AUTOCOMPRESS_TOKEN": self._token},
                start_new_session=True,
                preexec_fn=lambda: end_with(parent),  # noqa: PLW1509 - it calls one function of the C library
            )
            return self._process.wait()


def _without_secrets() -> dict[str, str]:
    """The environment without what belongs to the database."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _address(settings: Serving, listening: socket.socket) -> str:
    """The address for this machine."""
    port = listening.getsockname()[1]
    host = settings.host if settings.host not in ("0.0.0.0", "::") else "127.0.0.1"
    scheme = "https" if settings.certificate else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
