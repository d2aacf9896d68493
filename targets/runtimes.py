"""What each runtime brings along for this machine: its doctor, its part of a bundle, its reader of graphs.

The modules are in the runtime's folder below on_device/runtimes/, and loaded by the runtime's name. They
import nothing of the package, because the whole folder is copied to devices.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Protocol, cast

import onnx

from ..errors import InputError
from ..profiles.runtimes import runtime_folders
from .on_device.runtimes.finding import RuntimeDoctor
from .on_device.runtimes.script import RunScript


class GraphReader(Protocol):
    """A runtime's module graph.py."""

    def executed_precision(
        self, optimized: onnx.ModelProto, layers: Iterable[str], *, original: onnx.ModelProto
    ) -> Mapping[str, str]:
        """By layer name, the precision that the optimized graph computes it in."""
        ...

    def seconds_by_node(self, kernels: Mapping[str, float], model: onnx.ModelProto) -> Mapping[str, float]:
        """The seconds of the profiler's kernels by the node of `model` that each computes."""
        ...


def doctor_of(runtime: str) -> RuntimeDoctor:
    """What `targets doctor` says of a runtime."""
    return cast(RuntimeDoctor, _module(runtime, "doctor"))


def script_of(runtime: str) -> RunScript:
    """The runtime's parts of a bundle's run.py."""
    return cast(RunScript, _module(runtime, "bundle").SCRIPT)


def graph_reader_of(runtime: str) -> GraphReader:
    """What reads the graphs that a runtime optimized; only for those whose facts say that it is needed."""
    return cast(GraphReader, _module(runtime, "graph"))


def _module(runtime: str, name: str) -> ModuleType:
    """A module of the runtime. InputError when there is none of this name: a run or manifest may name any."""
    folders = runtime_folders()
    if runtime not in folders:
        raise InputError(f"There is no runtime {runtime!r}: it is one of {', '.join(folders)}.")
    return import_module(f".on_device.runtimes.{folders[runtime]}.{name}", __package__)
