"""The moments of all layers of a network: collected once, read from disk one by one.

Those of a large network together are gigabytes. They are collected in passes over the samples, each for as
many layers as IN_PASS_BYTES allow, and saved; of what is read again the latest IN_MEMORY_BYTES stay here.
Where nothing can be saved, all stay.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, fx

from ...errors import StageError
from ...tasks.plain.devices import CPU
from ..graph.devices import on_device
from ..graph.layers import Layer
from .statistics import Collecting, InputMoments
from .wide import block_count

IN_PASS_BYTES = 1 << 30
IN_MEMORY_BYTES = 1 << 28


class Store(Protocol):
    """Where entries are kept by name."""

    def load(self, name: str) -> dict[str, Tensor] | None:
        """An entry; None if there is none that is whole."""
        ...

    def save(self, name: str, tensors: Mapping[str, Tensor]) -> bool:
        """Whether it is kept now."""
        ...


class Moments(Mapping[str, InputMoments]):
    """The moments of the layers that run, by name. The first look at them runs the samples.

    The samples run on `device`; what is kept is on the CPU. `between` is called in front of each batch and
    may raise: the next look goes on from there.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        layers: Mapping[str, Layer],
        batches: Callable[[], Sequence[tuple[Tensor, ...]]],
        store: Store,
        *,
        between: Callable[[], None],
        device: torch.device = CPU,
        in_pass_bytes: int = IN_PASS_BYTES,
        in_memory_bytes: int = IN_MEMORY_BYTES,
    ):
        self._module, self._layers, self._batches, self._store = module, layers, batches, store
        self._between, self._device = between, device
        self._in_pass_bytes, self._in_memory_bytes = in_pass_bytes, in_memory_bytes
        self._due: list[list[str]] | None = None  # layers by pass; None before anybody looked
        self._collecting: Collecting | None = None
        self._names: set[str] = set()
        self._kept: dict[str, InputMoments] = {}  # what could not be saved
        self._recent: OrderedDict[str, InputMoments] = OrderedDict()
        self._means: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> InputMoments:
        self._collect()
        if name not in self._names:
            raise KeyError(name)
        if name in self._kept:
            return self._kept[name]
        if name not in self._recent:
            stored = self._loaded(name)
            if stored is None:  # removed or damaged since
                self._due = [[name]]
                self._collect()
                return self[name]
            self._recent[name] = stored
        self._recent.move_to_end(name)
        self._forget()
        return self._recent[name]

    def mean(self, name: str) -> Tensor:
        """The mean of a layer's inputs; KeyError as for the moments. It is small, and stays in memory."""
        if name not in self._means:
            self._means[name] = self[name].mean
        return self._means[name]

    def __contains__(self, name: object) -> bool:
        self._collect()
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        self._collect()
        return iter([name for name in self._layers if name in self._names])

    def __len__(self) -> int:
        self._collect()
        return len(self._names)

    def _collect(self) -> None:
        """Runs the samples for what is not there yet."""
        if self._due is None:
            self._names = {name for name in self._layers if self._loaded(name) is not None}
            missing = [layer for name, layer in self._layers.items() if name not in self._names]
            self._due = [*_passes(missing, self._in_pass_bytes)]
        while self._due:
            if self._collecting is None:
                module = on_device(self._module, self._device)
                self._collecting = Collecting(module, self._batches(), layers=self._due[0])
            made = self._collecting.finished(self._between)
            self._collecting = None
            self._due.pop(0)
            for name, moments in made.items():
                self._keep(name, moments)

    def _keep(self, name: str, moments: InputMoments) -> None:
        if not torch.isfinite(moments.second).all():
            message = f"the inputs of layer {name} are not finite on the calibration set"
            self._due = None
            raise StageError(message, stage="reconstruct")
        self._names.add(name)
        if not self._store.save(f"moments/{name}", {"second": moments.second, "mean": moments.mean}):
            self._kept[name] = moments

    def _loaded(self, name: str) -> InputMoments | None:
        stored = self._store.load(f"moments/{name}")
        return InputMoments(second=stored["second"], mean=stored["mean"]) if stored else None

    def _forget(self) -> None:
        """Drops what was not read for longest."""
        total = sum(_bytes(moments) for moments in self._recent.values())
        while total > self._in_memory_bytes and len(self._recent) > 1:
            _, oldest = self._recent.popitem(last=False)
            total -= _bytes(oldest)


def _bytes(moments: InputMoments) -> int:
    return moments.second.numel() * moments.second.element_size()


def moments_bytes(layer: Layer) -> int:
    """The size of a layer's second moments."""
    columns, channels = layer.weight_numel // layer.weight_shape[0], layer.weight_shape[1]
    groups = layer.channels_in // channels
    return 4 * columns**2 * groups // block_count(channels, columns // channels, groups)


def _passes(layers: Iterable[Layer], most: int) -> Iterator[list[str]]:
    """Lists of names of layers whose moments together fit into `most` bytes."""
    chunk: list[str] = []
    total = 0
    for layer in layers:
        size = moments_bytes(layer)
        if chunk and total + size > most:
            yield chunk
            chunk, total = [], 0
        chunk.append(layer.name)
        total += size
    if chunk:
        yield chunk
