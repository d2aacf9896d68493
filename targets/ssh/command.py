"""The command line of the OpenSSH client: the user's own configuration, jump hosts included, but nothing that
waits for a human.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from ...profiles.address import TargetAddress

LONGEST_S = 86400  # an agent's life; a longer search connects again

# Reads the agent's source (argument 1: its length) and runs it: the only code that is not sent. One line, for
# any login shell.
_BOOTSTRAP = (
    # no module out of the folder that one is logged in to
    "import sys;sys.path[:]=[p for p in sys.path if p];import os,json;"
    'n=int(sys.argv[1]);d=b"";exec("while len(d)<n:d+=os.read(0,n-len(d))or sys.exit(1)");'
    'exec(json.loads(d.decode())["boot"])'
)

_OPTIONS = {
    "BatchMode": "yes",  # a question would wait for ever
    "StrictHostKeyChecking": "yes",
    "ConnectTimeout": "15",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "ClearAllForwardings": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "RequestTTY": "no",
    "RemoteCommand": "none",  # of an interactive login
    "ControlMaster": "no",  # one that is there is used; one of our own would outlive us
    "LogLevel": "INFO",  # its messages are read
}


def destination(address: TargetAddress) -> str:
    """`user@host`, or `host` where the user's configuration knows the name."""
    return f"{address.user}@{address.host}" if address.user else str(address.host)


def ssh_command(address: TargetAddress, remote: Sequence[str], *, config: Path | None = None) -> list[str]:
    """The client's arguments that run `remote` on the board. `config` stands for `~/.ssh/config` (`ssh
    -F`).
    """
    configuration = ["-F", str(config)] if config else []
    port = ["-p", str(address.port)] if address.port else []
    options = [part for key, value in _OPTIONS.items() for part in ("-o", f"{key}={value}")]
    return ["ssh", *configuration, *options, *port, "--", destination(address), shlex.join(remote)]


def agent_command(python: str, *, length: int) -> list[str]:
    """What the board runs: the agent, whose source of `length` bytes follows on standard input, for a day at
    most.
    """
    return ["timeout", "-s", "KILL", str(LONGEST_S), python, "-c", _BOOTSTRAP, str(length)]


def on_board(address: TargetAddress, command: str) -> str:
    """A command that the user can copy: run on the board."""
    if address.on_cluster:
        return f"`{command.removeprefix('-t ')}` on that node"
    port = f"-p {address.port} " if address.port else ""
    return f"ssh {port}{destination(address)} {command}"
