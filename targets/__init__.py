"""Where an artifact runs: worker processes, the timing loop, and the lease that keeps other work away
meanwhile.

Purpose. Given a model's file and a Profile: its outputs, the precision that each layer really executes, and
its latency beside a baseline, as a Measurement that keeps raw values.

Flow. Target.session() starts one worker (on_device, a process without torch or this package) behind a
Transport: a child process here, or one on a board over SSH. TargetSession.run, .executed_precision and
.measure are requests to it. Measuring takes the host-wide lease, sees to an A/A control that is at most 10
measurements or 5 minutes old, and keeps the result in the MeasurementStore, by content.

Reading order
    on_device/      the process beside the model, and a folder for each runtime; nothing of the package in it
    transport.py    Transport: requests to a worker; LocalTransport: a worker on this machine
    replies.py      what a worker's replies and its end mean, in the project's errors
    ssh/            the same on a board: SshTransport, and Board, which several of them share
    ray_node/       the client that stands for OpenSSH's where a board is a node of a Ray cluster
    target.py       Target: what the rest of the project calls; session.py: TargetSession, one worker of it
    pool/           several boards of one kind as one target
    control.py      A/A controls, and how long one vouches for the machine
    lease.py        measuring alone, training together, never both at once
    store.py        MeasurementStore: nothing is measured twice
    runtimes.py     what a runtime brings along for this machine: doctor, bundle, reader of graphs
    precision.py    the executed precision by layer; layer_times.py: seconds by layer
    turns.py        models timed in turns: other runtimes, or other versions of one
    protocol.py     measure_model: the protocol on any model
    model_files/    a model in one file, in the container that a runtime reads
    held_clocks.py  `--set-clocks`, for as long as a search takes
    here.py         whether this machine is the hardware of a profile
    doctor/         what is missing to use a target, and what mends it

What it does not know: torch, the model's source, recipes, tasks, quality; which runtimes there are.
docs/measuring.md explains the protocol.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .lease import measuring, training
    from .protocol import measure_model, parse_shape
    from .session import TargetSession
    from .store import MeasurementKey, MeasurementStore
    from .target import Target
    from .transport import LocalTransport, Transport

_HOME = {
    "LocalTransport": "transport",
    "MeasurementKey": "store",
    "MeasurementStore": "store",
    "Target": "target",
    "TargetSession": "session",
    "Transport": "transport",
    "measure_model": "protocol",
    "measuring": "lease",
    "parse_shape": "protocol",
    "training": "lease",
}

__all__ = [
    "LocalTransport",
    "MeasurementKey",
    "MeasurementStore",
    "Target",
    "TargetSession",
    "Transport",
    "measure_model",
    "measuring",
    "parse_shape",
    "training",
]


def __getattr__(name: str) -> Any:
    """Loads a public name on first use: onnx and numpy would slow down every start of the command line."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
