"""What went wrong with a connection, from what the OpenSSH client said, and the command that mends it."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from ...errors import TargetUnavailable
from ...profiles.address import TargetAddress
from ..ray_node.command import join_command, said_by_client
from .command import destination, on_board

_CLIENT_FAILED = 255  # the client's exit code when it is not that of the remote command
_NO_TIMEOUT = re.compile(
    r"(?i)timeout: (command )?not found|(command not found|unknown command): timeout"
)  # any shell
_PASSING = (
    "Connection refused",
    "timed out",
    "No route to host",
    "Network is unreachable",
    "Connection reset",
    "Connection closed",
    "kex_exchange_identification",
    "Broken pipe",
    "not responding",
    "Connection to",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One failure to connect: a sentence, what mends it, and whether it may pass by itself."""

    name: str
    message: str
    remedy: str
    passing: bool = False

    def __str__(self) -> str:
        return f"{self.message}: {self.remedy}."


Judge = Callable[[str, int | None, TargetAddress, str], Trouble | None]


class BoardUnavailable(TargetUnavailable):
    """A board that cannot be used now, and why."""

    def __init__(self, trouble: Trouble):
        super().__init__(str(trouble))
        self.trouble = trouble


def trouble_of(text: str, *, code: int | None, address: TargetAddress, python: str) -> Trouble:
    """The trouble behind the client's messages `text` and its exit code (that of the remote command unless it
    is 255).
    """
    place = where(address)
    judges: tuple[Judge, ...] = (_remote,)
    if address.on_cluster:
        judges = (_node, _remote)
    elif code in (_CLIENT_FAILED, None):
        judges = (_host_key, _login, _network, _remote)
    for judge in judges:
        if trouble := judge(text, code, address, python):
            return trouble
    said = _last_line(text) or (f"exit code {code}" if code is not None else "nothing was said")
    passing = any(word in text for word in _PASSING) or code is None
    return Trouble(
        name="connection",
        message=f"{place}: the connection failed ({said})",
        remedy=doctor(address),
        passing=passing,
    )


def where(address: TargetAddress) -> str:
    """Host and port, for messages."""
    if address.on_cluster:
        return f"the Ray node with {address.resource}"
    return f"{destination(address)} (port {address.port or 'of your ssh configuration, 22 by default'})"


def doctor(address: TargetAddress) -> str:
    """The command that diagnoses a board."""
    return f"autocompress targets doctor {address}"


def _node(text: str, _: int | None, address: TargetAddress, __: str) -> Trouble | None:
    if not (said := said_by_client(text)):
        return None
    remedy = f"join that machine to the cluster with `{join_command(address)}`"
    if "is in use" in said:
        remedy = "wait for it, or end it"
    elif "was lost" in said or "no connection" in said:
        remedy = f"see to that machine and its network; then {doctor(address)}"
    elif "is not installed" in said:
        remedy = "pip install 'autocompress[ray]'"
    return Trouble(name="node", message=f"{where(address)}: {said}", remedy=remedy, passing=True)


def _host_key(text: str, _: int | None, address: TargetAddress, __: str) -> Trouble | None:
    if "Host key verification failed" not in text and "IDENTIFICATION HAS CHANGED" not in text:
        return None
    # a server's greeting is part of the text: only what is a host's name may stand in a command
    match = re.search(r"host key (?:for|is known for) \[?(\w[\w.:%-]*)\]?(?::(\d+))?", text)
    host = match.group(1) if match else str(address.host)
    port = (match.group(2) if match else None) or address.port
    at = f"-p {port} {host}" if port and int(port) != 22 else host
    entry = f"[{host}]:{port}" if port and int(port) != 22 else host
    scan = f"ssh-keyscan {at} >> ~/.ssh/known_hosts"
    if "IDENTIFICATION HAS CHANGED" in text:
        return Trouble(
            name="host key",
            message=f"{where(address)} has another host key than before: it was set up anew, or somebody "
            "stands between",
            remedy="compare `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the board itself, and only "
            f"then run ssh-keygen -R '{entry}' && {scan}",
        )
    return Trouble(
        name="host key",
        message=f"{where(address)} is not known to ssh",
        remedy=f"run {scan} and compare its fingerprint (ssh-keygen -lf ~/.ssh/known_hosts) with that on the "
        "board (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub)",
    )


def _login(text: str, _: int | None, address: TargetAddress, __: str) -> Trouble | None:
    if not any(
        word in text
        for word in ("Permission denied", "Too many authentication failures", "authentication methods")
    ):
        return None
    port = f"-p {address.port} " if address.port else ""
    return Trouble(
        name="login",
        message=f"{where(address)} does not let you in without a password",
        remedy=f"set up a key: ssh-copy-id {port}{destination(address)}",
    )


def _network(text: str, _: int | None, address: TargetAddress, __: str) -> Trouble | None:
    if "Could not resolve hostname" in text:
        remedy = "check its name, or put it into ~/.ssh/config (Host, HostName)"
        return Trouble(name="name", message=f"No address is known for the host {address.host}", remedy=remedy)
    if "Connection refused" in text:
        remedy = (
            f"start it there (sudo systemctl enable --now ssh), or check the port; then {doctor(address)}"
        )
        return Trouble(
            name="refused", message=f"{where(address)} runs no SSH server", remedy=remedy, passing=True
        )
    if any(word in text for word in ("timed out", "No route to host", "Network is unreachable")):
        remedy = f"see to its power and its network; then {doctor(address)}"
        return Trouble(name="reach", message=f"{where(address)} does not answer", remedy=remedy, passing=True)
    return None


def _remote(text: str, code: int | None, address: TargetAddress, python: str) -> Trouble | None:
    if "autocompress needs Python" in text:
        return Trouble(
            name="python",
            message=f"{where(address)}: {_last_line(text)}",
            remedy="set `python` in the target's TOML file to a newer interpreter on the board",
        )
    if code in (126, 127) or (code is not None and _NO_TIMEOUT.search(text)):  # csh: 1
        missing = "timeout" if _NO_TIMEOUT.search(text) else python
        package = "coreutils" if missing == "timeout" else "python3"
        return Trouble(
            name="python",
            message=f"{where(address)} has no {missing} ({_last_line(text)})",
            remedy=f"install it: {on_board(address, f'-t sudo apt install {package}')}, or set `python` in "
            "the target's TOML file",
        )
    return None


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
