"""A Ray cluster: its nodes, and what runs on them. The one module that imports ray, but for the client of
targets/ray_node.
"""

import importlib.util
import logging
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...profiles.address import NODE_RESOURCE, TargetAddress
from ...targets.ray_node.command import join_command

LOCAL = "local"  # the address of a cluster that the search starts for itself, on this machine
_NOT_SENT = ("runs", ".git", ".venv", "venv", "__pycache__", "*.onnx", "*.tflite", "*.engine")
_ANSWER_S = 5.0  # for a machine to answer
_MISSING = "--ray needs the package ray, which is not installed: pip install 'autocompress[ray]'."


class NodeLost(Exception):  # noqa: N818 - a state of the cluster, not a mistake
    """What ran on a node is gone: the node or the process died, or memory was short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine of the cluster, and what it has in all. `here` is the one that this process runs on.
    `targets` are its resources `target:NAME`: it is measured on.
    """

    id: str
    name: str
    cpus: int
    gpus: int
    memory_bytes: int
    here: bool
    targets: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Something that was begun on a node; `handle` is ray's."""

    handle: Any


class Cluster:
    """The cluster that this process is connected to."""

    def __init__(self, ray: Any):
        self._ray = ray
        self._here = ray.get_runtime_context().get_node_id()

    def nodes(self) -> list[Node]:
        """Those that are alive."""
        return [self._node(entry) for entry in self._ray.nodes() if entry["Alive"]]

    def _node(self, entry: Any) -> Node:
        resources = entry["Resources"]
        return Node(
            id=entry["NodeID"],
            name=entry["NodeManagerHostname"],
            cpus=int(resources.get("CPU", 0)),
            gpus=int(resources.get("GPU", 0)),
            memory_bytes=int(resources.get("memory", 0)),
            here=entry["NodeID"] == self._here,
            targets=frozenset(
                name for name, amount in resources.items() if name.startswith(NODE_RESOURCE) and amount >= 1
            ),
        )

    def actor(self, kind: type, *arguments: Any, node: Node, cpus: int = 0, gpus: int = 0) -> Any:
        """An object of a class on a node, where it keeps so many CPUs and GPUs for itself."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node_id=node.id, soft=False)
        remote = self._ray.remote(kind).options(
            num_cpus=cpus, num_gpus=gpus, scheduling_strategy=there, max_concurrency=1
        )
        return remote.remote(*arguments)

    def begin(self, actor: Any, method: str, *arguments: Any) -> Running:
        """Calls a method of an actor, without waiting for the answer."""
        return Running(handle=getattr(actor, method).remote(*arguments))

    def first_done(self, running: Sequence[Running], *, wait_s: float) -> Running | None:
        """One that has ended, well or not; None when none did within `wait_s`."""
        if not running:
            return None
        done, _ = self._ray.wait([one.handle for one in running], num_returns=1, timeout=wait_s)
        return next((one for one in running if one.handle in done), None)

    def answer(self, running: Running) -> Any:
        """What was answered; waits for it. Raises NodeLost, and what the method raised."""
        return _answer(self._ray, running.handle)

    def end(self, actor: Any) -> None:
        """Ends an actor with all that it does."""
        self._ray.kill(actor, no_restart=True)


def ask(actor: Any, method: str, *arguments: Any) -> Any:
    """Calls a method of an actor from inside another one, and waits. Raises NodeLost."""
    import ray

    return _answer(ray, getattr(actor, method).remote(*arguments))


def _answer(ray: Any, handle: Any) -> Any:
    try:
        return ray.get(handle)
    except OSError as error:  # its disk is full, or what it reads is gone
        raise NodeLost(_first_line(getattr(error, "cause", error))) from error
    except ray.exceptions.RayTaskError:
        raise
    except ray.exceptions.RayError as error:
        raise NodeLost(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def require_ray() -> None:
    """InputError where ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise InputError(_MISSING)


def require_cluster(address: str, *, measured: Sequence[TargetAddress] = ()) -> None:
    """InputError where there is no cluster at the address, or no node of it for one of those `measured`."""
    if address == LOCAL:
        if measured:
            raise InputError(
                f"--ray local has no node with {measured[0].resource}: give the address of a cluster."
            )
        return
    host, _, port = address.rpartition(":")
    if host:  # ray waits for two minutes
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
        except (OSError, ValueError) as error:
            raise InputError(_unreachable(address, error)) from error
    with connected(address, folder=None) as cluster:
        nodes = cluster.nodes()
    for target in measured:
        if not any(target.resource in node.targets for node in nodes):
            names = ", ".join(sorted({node.name for node in nodes}))
            raise InputError(
                f"--target {target}: no node of the Ray cluster has the resource {target.resource} (there "
                f"are {names}). Join the machine that is measured on with `{join_command(target)}`."
            )


@contextmanager
def connected(address: str, *, folder: Path | None) -> Iterator[Cluster]:
    """The cluster at `address`: `auto` is the one that this machine is part of, LOCAL a new one of this
    machine alone. `folder` goes to all nodes. Raises InputError.
    """
    require_ray()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
    import ray

    runtime: dict[str, Any] = {}
    if folder is not None:
        runtime = {"working_dir": str(folder), "excludes": list(_NOT_SENT)}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    options: dict[str, Any] = {"runtime_env": runtime, "log_to_driver": False}
    if address == LOCAL:
        options["include_dashboard"] = False
    try:
        ray.init(address=address, logging_level=logging.ERROR, **options)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise InputError(_unreachable(address, error)) from error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    try:
        yield Cluster(ray)
    finally:
        ray.shutdown()


def _unreachable(address: str, error: Exception) -> str:
    if address == "auto" and "Could not find" in str(error):
        return (
            "--ray auto: this machine is part of no Ray cluster. Start one with `ray start --head`, join it "
            "on other machines with `ray start --address=HOST:6379`, or give --ray local for this one alone."
        )
    said = _first_line(error).split(". ")[0].rstrip(".")
    join = "HOST:6379" if address == "auto" else address
    return (
        f"--ray {address}: there is no connection ({said}). This machine has to be part "
        f"of the cluster: `ray start --address={join}`, then --ray auto. Where the cluster wants a token, "
        "RAY_AUTH_MODE=token and the cluster's ~/.ray/auth_token have to be here, too."
    )
