"""RuntimeFacts: what is known of a runtime without running it, from the facts.json in its folder.

The folders are below targets/on_device/runtimes/, and listed.json there names them. `profiles` may not import
`targets`; it reads these files as data, because a profile is right or wrong by what its runtime can do.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

Activations = Literal["uint8-asymmetric", "int8-symmetric", "int8-asymmetric"]
Int8Weights = Literal["int8", "float32"]
Container = Literal["onnx", "tflite"]

FOLDER = Path(__file__).parents[1] / "targets" / "on_device" / "runtimes"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequiredOption:
    """A runtime option that every profile must set to one of `values`; `otherwise`: what the runtime would
    do.
    """

    name: str
    values: tuple[str, ...]
    otherwise: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemInstall:
    """What installs a runtime on boards whose product name holds `board`, in place of pip; `system` is what
    it comes with.
    """

    board: str
    system: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFacts:
    """One runtime. `title` is its name for people, `module` the Python module that a device needs, `pip` and
    `system_installs` what installs it.

    `container`: the kind of file that it reads, and the ending of its name. `gpu`: it runs on an NVIDIA GPU,
    whose memory and time are measured. `builds_engines`: it builds an engine for each model and batch size,
    which takes minutes. `precisions`: what it has kernels for. `activations` and `int8_weights`: the Q/DQ
    conventions that it takes. `packed_weights`: it expands weights that are stored in fewer bits than they
    are computed in, once, when it loads a model. `exact_sums_option`: the runtime option that, set to "1",
    keeps int8 sums from saturating on x86 without VNNI; None: there is no such option. `precision_from`:
    whether it reports the precision of each layer, or writes the graph that it optimized.
    """

    name: str
    title: str
    module: str
    pip: str
    precisions: tuple[str, ...]
    activations: tuple[Activations, ...]
    int8_weights: tuple[Int8Weights, ...] = ("int8",)
    system_installs: tuple[SystemInstall, ...] = ()
    container: Container = "onnx"
    gpu: bool = False
    builds_engines: bool = False
    packed_weights: bool = False
    dynamic_int8: bool = False
    block4: bool = False
    fused_operators: bool = False
    nm_sparsity: bool = False
    exact_sums_option: str | None = None
    required_options: tuple[RequiredOption, ...] = ()
    precision_from: Literal["report", "graph"] = "report"

    def install_on(self, device: str | None) -> str | None:
        """The system's own command that installs it on a device of that product name; None where pip does."""
        fitting = [entry for entry in self.system_installs if entry.board in (device or "")]
        return fitting[0].command if fitting else None


@cache
def runtime_folders() -> Mapping[str, str]:
    """The folder of each runtime by the runtime's name, in the order of the list."""
    folders: dict[str, str] = json.loads((FOLDER / "listed.json").read_text(encoding="utf-8"))
    return folders


@cache
def runtime_facts(name: str) -> RuntimeFacts:
    """The facts of a runtime. KeyError if there is none of this name, TypeError for a file with other
    keys.
    """
    path = FOLDER / runtime_folders()[name] / "facts.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    options = [{**entry, "values": tuple(entry["values"])} for entry in values.get("required_options", [])]
    return RuntimeFacts(
        **{
            **values,
            **lists,
            "name": name,
            "system_installs": tuple(SystemInstall(**entry) for entry in values.get("system_installs", [])),
            "required_options": tuple(RequiredOption(**entry) for entry in options),
        }
    )


def container_of(runtime: str) -> Container:
    """The kind of file that a runtime reads; ONNX for one that this version does not know."""
    return runtime_facts(runtime).container if runtime in runtime_folders() else "onnx"
