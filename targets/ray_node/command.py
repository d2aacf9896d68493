"""The command line of the client of a Ray node, and what its complaints mean."""

import sys
from collections.abc import Sequence
from pathlib import Path

from ...profiles.address import TargetAddress
from .client import SAID

_CLIENT = Path(__file__).with_name("client.py")


def node_command(address: TargetAddress, remote: Sequence[str]) -> list[str]:
    """The client's arguments that run `remote` on the node which has the target's resource."""
    return [sys.executable, "-P", str(_CLIENT), address.cluster or "auto", address.resource, *remote]


def said_by_client(text: str) -> str:
    """Why there is no connection; empty where the client did not say so."""
    lines = [line for line in text.splitlines() if line.startswith(SAID)]
    return lines[-1].removeprefix(SAID).strip() if lines else ""


def join_command(address: TargetAddress) -> str:
    """What makes a machine the target's node."""
    return f"ray start --address=HOST:6379 --resources='{{\"{address.resource}\": 1}}'"
