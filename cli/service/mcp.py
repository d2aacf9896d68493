"""The command `mcp`."""

import os
import signal
from typing import Annotated

import typer

from ...errors import InputError
from ...explore.session.interrupt import signals_heeded
from ..console.interruption import INTERRUPTED
from ..console.log import Quiet
from ..support import errors
from .shared import Server, say_now, token


def mcp(
    *,
    server: Server = "http://127.0.0.1:8700",
    allow_changes: Annotated[
        bool,
        typer.Option(
            "--allow-changes", help="Offer tools that submit, pause, resume and cancel searches, too."
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Offer a service's searches to an assistant, as tools of the Model Context Protocol (MCP).

    A client such as Claude Desktop or VS Code starts this command and speaks the protocol on its standard
    input and output. The tools look at searches only, unless --allow-changes. The token is in
    AUTOCOMPRESS_TOKEN; one of the scope read is enough to look.

    In the client's configuration (VS Code: "servers" instead of "mcpServers"):

    \b
        {"mcpServers": {"autocompress": {
            "command": "autocompress",
            "args": ["mcp", "--server", "http://127.0.0.1:8700"],
            "env": {"AUTOCOMPRESS_TOKEN": "acp_..."}}}}

    Examples:

        autocompress serve --token-for ana --scope read --lasts 720h

        autocompress mcp --server https://compress.example

        autocompress mcp --allow-changes
    """
    with errors():
        secret = token()
        try:
            from ...service.mcp.server import require_service, serve
        except ImportError as error:
            raise InputError(f"MCP needs {error.name}: pip install 'autocompress[mcp]'.") from error
        from ...service.client import Client

        client = Client(server, token=secret)
        require_service(client)
        what = "may change searches" if allow_changes else "read only"
        say_now(f"Tools of {client.connection.url} for an MCP client on standard input ({what}).")
        _end_at_once_by_signals()
        serve(client, allow_changes=allow_changes)


def _end_at_once_by_signals() -> None:
    """A thread that reads standard input cannot be interrupted; nothing is left to save."""
    for number in signals_heeded():
        signal.signal(number, lambda *_: os._exit(INTERRUPTED))
