"""The command `serve`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from ...errors import InputError
from ..console.log import Quiet
from ..support import errors, parsed, show
from .shared import ConfigFile, Data, config_file, config_of, data_folder, say_now, show_now

DatabaseUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="PostgreSQL instead of a file: postgresql://user@host/name.")
]
Host = Annotated[str, typer.Option(help="The address to listen on; this machine alone if not given.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 takes a free one.")]
WithWorker = Annotated[
    bool, typer.Option("--worker/--no-worker", help="Whether a worker of this machine runs searches.")
]
Lease = Annotated[
    str, typer.Option(help="How long a worker may be silent before its search goes to another.")
]
Certificate = Annotated[Path | None, typer.Option(metavar="FILE", help="TLS: the certificate (PEM).")]
CertificateKey = Annotated[Path | None, typer.Option(metavar="FILE", help="TLS: its private key (PEM).")]
Proxies = Annotated[
    str, typer.Option(metavar="ADDRESSES", help="Proxies whose forwarded headers are believed, by address.")
]
TokenFor = Annotated[
    str | None, typer.Option(metavar="USER", help="Make a token for this user, print it, and serve nothing.")
]
TokenScope = Annotated[
    str, typer.Option("--scope", help="What that token allows: read, submit, deploy, admin or work.")
]
TokenLasts = Annotated[str | None, typer.Option("--lasts", help="How long that token holds, such as 720h.")]


Action = Annotated[
    str | None, typer.Argument(metavar="[ACTION]", help="backup or restore, with FILE; serve without one.")
]
WithUploads = Annotated[
    bool, typer.Option("--uploads/--no-uploads", help="Whether a backup has what people uploaded.")
]
_ACTIONS = "Write `autocompress serve backup FILE` or `autocompress serve restore FILE`."
Archive = Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The archive: service.tar.gz.")]


def serve(
    action: Action = None,
    file: Archive = None,
    *,
    data: Data = None,
    config: ConfigFile = None,
    database: DatabaseUrl = None,
    host: Host = "127.0.0.1",
    port: Port = 8700,
    worker: WithWorker = True,
    lease: Lease = "60s",
    certificate: Certificate = None,
    key: CertificateKey = None,
    proxies: Proxies = "",
    token_for: TokenFor = None,
    scope: TokenScope = "submit",
    lasts: TokenLasts = None,
    uploads: WithUploads = True,
    quiet: Quiet = False,
) -> None:
    """Serve searches by REST and web pages, for a team.

    Without options it listens on this machine alone, prints a token at the first start, and runs searches one
    after the other. A second start goes on with what ran. Ctrl-C and SIGTERM stop safely.

    Examples:

        autocompress serve

        autocompress serve --token-for ana --scope submit --lasts 720h

        autocompress serve --database postgresql://autocompress@db/autocompress --host 0.0.0.0 --no-worker

        autocompress serve backup service.tar.gz
    """
    with errors():
        folder = data_folder(data)
        configured = config_file(config, folder)
        if action == "restore":
            _restore(file, folder, database)
            return
        settings = config_of(configured)
        if action is not None:
            _back_up(action, file, database, data=folder, nightly=settings.listed.nightly, uploads=uploads)
            return
        try:
            from ...service.serving import Serving, make_token
            from ...service.serving import serve as serve_until_signal
        except ImportError as error:
            raise InputError(
                f"The service needs {error.name}: pip install 'autocompress[service]'."
            ) from error
        if (certificate is None) != (key is None):
            raise InputError("--certificate and --key belong together: give both.")
        if token_for is not None:
            lasts_s = parsed("parse_duration", lasts)
            show(make_token(folder, database, token_for, scope, lasts_s=lasts_s))
            return
        serving = Serving(
            data=folder,
            config=settings,
            config_file=configured,
            host=host,
            port=port,
            database=database,
            worker=worker,
            lease_s=parsed("parse_duration", lease),
            certificate=certificate,
            key=key,
            proxies=proxies,
        )
        serve_until_signal(serving, say=say_now, show=show_now)


def _back_up(
    action: str,
    file: Path | None,
    database: str | None,
    *,
    data: Path,
    nightly: Mapping[str, Path],
    uploads: bool,
) -> None:
    """Writes a backup, and says how large each part of it is."""
    from ...profiles.units import format_size
    from ...service.saving.archive import backup
    from ...service.saving.files import Belongs

    if action != "backup" or file is None:
        raise InputError(_ACTIONS)
    belongs = Belongs(data=data.resolve(), nightly=nightly, uploads=uploads)
    done = backup(belongs, database, file)
    show(f"{done.path}: {done.files} files, {format_size(done.size_bytes)}")
    for part, (files, size) in done.parts.items():
        show(f"  {part}: {format_size(size)} before packing, number of files: {files}")
    for path in belongs.elsewhere():
        show(f"  Not in it, because it is not below {data}: {path}, and what is kept beside it")


def _restore(file: Path | None, data: Path, database: str | None) -> None:
    """Puts a backup back."""
    from ...profiles.units import format_size
    from ...service.saving.archive import restore

    if file is None:
        raise InputError(_ACTIONS)
    done = restore(file, data, database)
    show(f"{done.path}: {done.files} files, {format_size(done.size_bytes)}")
