"""The level database: for each level of a layer or group, the reconstructed weights and their output error.

It is made once per task and kept on disk. Its key is the digest of the traced model, its weights, the
calibration batches and, other than the CPU, the kind of device that computes: all runs on a task share it, a
killed run continues with it, and nothing stale is read. Sums of a GPU round otherwise, and GPTQ's integers
follow them: what a GPU made is read on GPUs alone. What is here and on disk is on the CPU.
An entry is made when it is first needed. Each is one safetensors file with a SHA-256 of its content; one that
is damaged is removed and made again:

    moments/<layer>     second moments and mean of the layer's inputs
    removal/<group>     the order in which the group's channels go, and the error after each
    levels/<digest>     a layer's weight on some of its columns, rounded to some bits
    factors/<digest>    a layer's weight as a product of two of low rank (student/low_rank.py)

Source of the idea: Frantar, Alistarh, "SPDY" (2022), section 3.
"""

import contextlib
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...files import DIGEST, digest_of, replacing, write_bytes
from ...scratch import sweep_parts
from ...tasks.plain.devices import CPU, on
from ..graph.channels import Group
from ..graph.graph import array_of, get_tensor, layer_nodes
from ..graph.network import Network
from ..options import RoundingMethod
from ..stages import computed_on
from .moments import IN_MEMORY_BYTES as MOMENTS_BYTES
from .moments import IN_PASS_BYTES, Moments
from .reconstruct import GroupReader, Removal, removal_order
from .sparse import sparsify
from .statistics import columns_of, groups_of_layer
from .wide import compensated_parts, dense, error_of, parts_of, rounded_parts

log = logging.getLogger(__name__)

VERSION = 8
LIMIT_BYTES = 2 << 30
SHRINK_EVERY = 256  # entries
_SHORT_LIVED = ("levels", "factors")  # there are many, each of which is made soon
IN_MEMORY_BYTES = 1 << 29  # of levels


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A layer's weight, groups × rows × remaining columns: floats, or integers times `step` (groups × rows).

    `error` is the squared output error relative to the output's energy, on the calibration inputs.
    """

    values: Tensor
    step: Tensor | None
    error: float

    def weight(self) -> Tensor:
        """The weight as floats."""
        return self.values if self.step is None else self.values.float() * self.step.unsqueeze(-1)

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return self.values.numel() * self.values.element_size()


class SharedFiles(Protocol):
    """Files that other machines have made; their names are paths below the folder of all databases."""

    def fetch(self, name: str) -> bytes | None:
        """The content of a file; None if nobody has it."""
        ...

    def offer(self, name: str, content: bytes) -> None:
        """Gives a file to the others."""
        ...


class LevelDatabase:
    """The levels of one network under one calibration set. `directory` None keeps them in memory only.
    `shared`: where entries are looked for that are not on this machine, and new ones go, too.

    Entries are computed on `device`, one that does not fit there on the CPU. `between` is called while
    something is made that takes long, and may raise. `memory_share` says how much of it may be in memory
    (`CompressorOptions`).
    """

    def __init__(
        self,
        network: Network,
        batches: Callable[[], Sequence[tuple[Tensor, ...]]],
        *,
        directory: Path | None = None,
        shared: SharedFiles | None = None,
        rounding: RoundingMethod = "gptq",
        device: torch.device = CPU,
        limit_bytes: int = LIMIT_BYTES,
        memory_share: Callable[[int, int], int] = lambda divisor, most: most,
        between: Callable[[], None] = lambda: None,
    ):
        self.network = network
        self.rounding = rounding
        self.device = device
        self.limit_bytes = limit_bytes
        self._shared = shared
        self._between = between
        self.key = self._digest(batches())
        self.directory = directory / self.key[:32] if directory else None
        self._nodes = dict(layer_nodes(network.module))
        self._layers = {layer.name: layer for layer in network.layers if layer.name in self._nodes}
        self._energies: dict[str, float] = {}  # of each layer's outputs
        self._in_memory: OrderedDict[str, Level] = OrderedDict()
        self._in_memory_bytes, self._most_bytes = 0, memory_share(16, IN_MEMORY_BYTES)
        self._saved = 0
        self.moments = Moments(
            network.module,
            self._layers,
            batches,
            self,
            between=between,
            device=device,
            in_pass_bytes=memory_share(8, IN_PASS_BYTES),
            in_memory_bytes=memory_share(32, MOMENTS_BYTES),
        )

    def _digest(self, batches: Iterable[tuple[Tensor, ...]]) -> str:
        """SHA-256 of what decides every entry."""
        made_by = torch.__version__ if self.device == CPU else f"{torch.__version__} {self.device.type}"
        hasher = hashlib.sha256(f"{VERSION} {made_by}\n{self.network.module.code}".encode())
        tensors = [tensor for _, tensor in sorted(self.network.module.state_dict().items())]
        for batch in batches:
            tensors.extend(batch)
        for tensor in tensors:
            hasher.update(array_of(tensor).tobytes())
        return hasher.hexdigest()

    def covers(self, layer: str) -> bool:
        """Whether the weight can be reconstructed: a convolution or linear layer that ran on the samples."""
        return layer in self._layers and layer in self.moments

    def removal(self, group: Group) -> Removal | None:
        """The order in which the group's channels are removed; None if no layer with moments reads them."""
        if (earlier := self.known_removal(group)) is not None:
            return earlier
        inputs = [parameter for parameter, dim in group.units[0].indices if dim == 1]
        readers = [reader for parameter in inputs if (reader := self._reader(group, parameter))]
        if not readers:
            return None
        removal = computed_on(
            self.device,
            lambda device: removal_order(
                [reader.on(device) for reader in readers], group.channels, between=self._between
            ),
        )
        order, errors = torch.tensor(removal.order), torch.tensor(removal.errors, dtype=torch.float64)
        self.save(f"removal/{group.name}", {"order": order, "errors": errors})
        return removal

    def known_removal(self, group: Group) -> Removal | None:
        """The same; None if that order has not been made yet."""
        stored = self.load(f"removal/{group.name}")
        if stored is None:
            return None
        return Removal(order=tuple(stored["order"].tolist()), errors=tuple(stored["errors"].tolist()))

    def _reader(self, group: Group, parameter: str) -> GroupReader | None:
        layer = next((layer for layer in self._layers.values() if layer.weight == parameter), None)
        if layer is None or not self.covers(layer.name) or groups_of_layer(self._nodes[layer.name]) > 1:
            return None
        weight = get_tensor(self.network.module, parameter).detach()
        taps = torch.arange(weight[0, 0].numel())
        columns = [
            (torch.from_numpy(unit.indices[parameter, 1])[:, None] * len(taps) + taps).reshape(-1)
            for unit in group.units
        ]
        return GroupReader(
            weight=weight.flatten(1), second=self.moments[layer.name].second, columns=torch.stack(columns)
        )

    def level(
        self, layer: str, *, channels: Tensor | None = None, bits: int | None = None, sparse: bool = False
    ) -> Level:
        """The layer's weight on the remaining input `channels` (indices into dimension 1; None: all).

        It is rounded to `bits`, unless None. `sparse` makes it 2:4 instead of rounding it.
        """
        name = self._level_name(layer, None if channels is None else channels.tolist(), bits, sparse)
        if name in self._in_memory:
            self._in_memory.move_to_end(name)
            return self._in_memory[name]
        level = self._stored_level(name)
        if level is None:
            self._between()
            level = computed_on(self.device, partial(self._make, layer, channels, bits, sparse))
            tensors = {"values": level.values, "error": torch.tensor(level.error, dtype=torch.float64)}
            if level.step is not None:
                tensors["step"] = level.step
            self.save(f"levels/{name}", tensors)
        self._in_memory[name] = level
        self._in_memory_bytes += level.bytes
        while self._in_memory_bytes > self._most_bytes and len(self._in_memory) > 1:
            self._in_memory_bytes -= self._in_memory.popitem(last=False)[1].bytes
        return level

    def _stored_level(self, name: str) -> Level | None:
        stored = self.load(f"levels/{name}")
        if stored is None:
            return None
        return Level(values=stored["values"], step=stored.get("step"), error=float(stored["error"]))

    def _level_name(self, layer: str, channels: list[int] | None, bits: int | None, sparse: bool) -> str:
        parts = [layer, channels, bits, self.rounding if bits else None]
        return digest_of([*parts, "2:4"] if sparse else parts)

    def known_error(self, layer: str, bits: int | None, *, sparse: bool = False) -> float | None:
        """The output error of a layer on all its channels; None if that level has not been made yet."""
        name = self._level_name(layer, None, bits, sparse)
        if name in self._in_memory:
            return self._in_memory[name].error
        stored = self.load(f"levels/{name}")
        return None if stored is None else float(stored["error"])

    def _make(
        self, layer: str, channels: Tensor | None, bits: int | None, sparse: bool, device: torch.device
    ) -> Level:
        node, second = self._nodes[layer], on(self.moments[layer].second, device)
        tensor = on(get_tensor(self.network.module, self._layers[layer].weight).detach(), device)
        original = columns_of(tensor, groups_of_layer(node))
        values, columns, step = original, torch.arange(original.shape[-1], device=device), None
        taps = tensor[0, 0].numel()
        if channels is not None:
            columns = (on(channels, device)[:, None] * taps + columns[:taps]).reshape(-1)
        parts = parts_of(second, columns, original.shape[-1])
        if channels is not None:
            values = compensated_parts(original, parts)
        if sparse:
            values = sparsify(values, dense(second, original.shape[-1])[:, columns][:, :, columns], taps)
        if bits is not None:
            seconds = [part.second_left for part in parts]
            integers, step = rounded_parts(values, seconds, bits, self.rounding)
            values = integers.to(torch.int8)
        level = Level(values=values.contiguous(), step=step, error=0.0)
        change = original.clone()
        change[..., columns] -= level.weight()
        if layer not in self._energies:
            self._energies[layer] = max(error_of(original, second), 1e-30)
        values, step = on((level.values, level.step), CPU)
        return Level(values=values, step=step, error=error_of(change, second) / self._energies[layer])

    def describe(self) -> str:
        """Its size and place: `11.5 MB of at most 2048 MB in /home/…/levels/ab12…`."""
        if self.directory is None:
            return "in memory only"
        size, limit = (value / 2**20 for value in (self.size_bytes, self.limit_bytes))
        return f"{size:.1f} MB of at most {limit:.0f} MB in {self.directory}"

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        return sum(_size(path) for path in self.directory.rglob("*.safetensors")) if self.directory else 0

    def _path(self, name: str) -> Path | None:
        folder, _, stem = name.partition("/")
        stem = stem if folder == "levels" else hashlib.sha256(stem.encode()).hexdigest()
        return self.directory / folder / f"{stem}.safetensors" if self.directory else None

    def load(self, name: str) -> dict[str, Tensor] | None:
        """An entry; None if it is missing, damaged, or another process has just removed it."""
        path = self._path(name)
        if path is None or not (path.is_file() or self._fetched(path)):
            return None
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
                stated = (file.metadata() or {}).get(DIGEST)
            if stated == digest_of_tensors(name, tensors):
                return tensors
            reason = "its digest does not match its content"
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, ValueError, MemoryError) as error:
            reason = str(error)
        log.warning("%s is damaged (%s): it is made again.", path, reason)
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return None

    def _fetched(self, path: Path) -> bool:
        """Whether an entry that is not here came from another machine. It is checked like any other."""
        content = None if self._shared is None else self._shared.fetch(_shared_name(path))
        if content is None:
            return False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, content)
        except OSError as error:  # full disk, read-only folder
            log.warning("The level database cannot be kept in %s: %s", self.directory, error)
            return False
        return True

    def save(self, name: str, tensors: Mapping[str, Tensor]) -> bool:
        """Whether the entry is on disk now."""
        path = self._path(name)
        if path is None:
            return False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stored = {key: value.contiguous() for key, value in tensors.items()}
            with replacing(path) as temporary:
                save_file(stored, temporary, metadata={DIGEST: digest_of_tensors(name, stored)})
            if self._shared is not None:
                self._shared.offer(_shared_name(path), path.read_bytes())
            if self._saved % SHRINK_EVERY == 0:
                self._shrink()
        except (OSError, SafetensorError) as error:  # full disk, read-only folder: made again in the next run
            log.warning("The level database cannot be kept in %s: %s", self.directory, error)
            self.directory = None
        self._saved += 1
        return self.directory is not None

    def _shrink(self) -> None:
        """Removes the oldest entries of all tasks beyond the limit; moments, slow to make, come last."""
        assert self.directory is not None
        for pattern in ("*/", "*/*/"):
            for folder in self.directory.parent.glob(pattern):
                sweep_parts(folder)
        files = {path: _modified(path) for path in self.directory.parent.rglob("*.safetensors")}
        excess = sum(map(_size, files)) - self.limit_bytes
        for path in sorted(files, key=lambda path: (path.parent.name not in _SHORT_LIVED, files[path])):
            if excess <= 0:
                return
            excess -= _size(path)
            path.unlink(missing_ok=True)


def _shared_name(path: Path) -> str:
    """The name of an entry's file among all machines: database, kind, file."""
    return "/".join(path.parts[-3:])


def digest_of_tensors(name: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of a name, and each tensor with its type and shape."""
    hasher = hashlib.sha256(name.encode())
    for key, tensor in sorted(tensors.items()):
        hasher.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        hasher.update(tensor.numpy().tobytes())
    return hasher.hexdigest()


def _size(path: Path) -> int:
    """Bytes; 0 for a file that another process has just removed."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
