"""The digest of a task: a resumed search must have the same model, data and metric.

It covers weights, layer types, samples, and the source of the metric and the loss, but not what those call.
"""

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ..files import digest_of
from .data import Randomness, chosen, fetch, read, sample_count
from .task import Metric, Split, Task

_DIGESTED_SAMPLES = 64


def task_digest(task: Task) -> str:
    """SHA-256 of the model's weights and layer types, the metric, the loss, the inputs' form and the data."""
    metric = task.metric
    stated: dict[str, Any] = {} if task.outputs is None else {"outputs": list(map(str, task.outputs))}
    if metric.prepare is not None:
        stated["prepare"] = _source(metric.prepare)
    if task.batch != "free":
        stated["batch"] = task.batch
    if task.resolutions:
        stated["resolutions"] = list(task.resolutions)
    if task.used_tokens:
        stated["used tokens"] = [[key, list(tokens)] for key, tokens in task.used_tokens.items()]
    if task.dynamic:
        stated["dynamic"] = [[key, list(dims.items())] for key, dims in task.dynamic.items()]
    return digest_of(
        {
            **stated,
            "data": data_digest(task),
            "metric": [metric.name, metric.direction, metric.unit, *_metric_sources(metric)],
            "loss": _source(task.loss),
            "model": model_digest(task.model),
            "inputs": [[str(tensor.dtype), list(tensor.shape[1:])] for tensor in task.inputs],
        }
    )


def _metric_sources(metric: Metric) -> list[Any]:
    """What is told apart of the metric's functions, and of a torchmetrics.Metric its settings."""
    sources: list[Any] = [] if metric.function is None else [_source(metric.function)]
    functions = {"update": metric.update, "compute": metric.compute, "arguments": metric.arguments}
    sources += [[name, _source(function)] for name, function in functions.items() if function is not None]
    if metric.torchmetric is not None:
        settings = vars(metric.torchmetric).items()
        plain = {key: value for key, value in settings if isinstance(value, str | int | float | None)}
        public = {key: repr(value) for key, value in plain.items() if not key.startswith("_")}
        sources.append([type(metric.torchmetric).__qualname__, public])
    return sources


def model_digest(model: nn.Module) -> str:
    """SHA-256 of the names and types of the modules and the names, types, shapes and bytes of the state."""
    state = {name: _digest_of_value(value) for name, value in model.state_dict().items()}
    modules = [[name, type(module).__qualname__] for name, module in model.named_modules()]
    return digest_of({"state": state, "modules": modules})


def data_digest(task: Task) -> str:
    """SHA-256 of the number of samples of each split and of 64 fixed samples of it: cheap, not a proof."""
    splits = {"train": task.train, "validation": task.validation, "test": task.test}
    return digest_of(
        {name: [sample_count(split), _digest_of_samples(split)] for name, split in splits.items()}
    )


def input_hashes(split: Split, limit: int) -> Iterator[bytes]:
    """16 bytes for each sample's inputs (not its target), of at most `limit` samples."""
    for inputs, _ in Randomness(0).drawing(read(split, limit=limit)):
        columns = [np.ascontiguousarray(tensor.detach().cpu().numpy()) for tensor in inputs]
        for row in range(len(columns[0])):
            hasher = hashlib.sha256()
            for column in columns:
                hasher.update(column[row].tobytes())
            yield hasher.digest()[:16]


def _source(function: Callable[..., Any]) -> str:
    """The function's source, or its name where there is none (built in, or an object that is called)."""
    function = inspect.unwrap(function)
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return getattr(function, "__qualname__", type(function).__qualname__)


def _digest_of_samples(split: Split) -> str:
    """The digest of fixed samples if there is random access (also behind a loader), else of the first
    batches.
    """
    with Randomness(0):
        if isinstance(split, DataLoader) and isinstance(split.dataset, IterableDataset):
            return _digest_of_value(list(read(split, limit=_DIGESTED_SAMPLES)))
        dataset: Dataset[Any] = split.dataset if isinstance(split, DataLoader) else split
        indices = chosen(len(dataset), _DIGESTED_SAMPLES)  # type: ignore[arg-type]
        if isinstance(split, DataLoader) and split.collate_fn is not None:
            return _digest_of_value([split.collate_fn([dataset[index]]) for index in indices])
        batches = fetch(dataset, indices)
        return _digest_of_value(batches[0] if len(batches) == 1 else batches)


def _digest_of_value(value: Any) -> str:
    """SHA-256 of a nest of tensors, arrays, numbers and strings."""
    hasher = hashlib.sha256()
    _update(hasher, value)
    return hasher.hexdigest()


def _update(hasher: "hashlib._Hash", value: Any) -> None:
    if isinstance(value, np.ndarray | np.generic):
        value = torch.as_tensor(value)
    if isinstance(value, Tensor):
        value = value.detach().cpu().contiguous()
        hasher.update(f"{value.dtype}{tuple(value.shape)}".encode())
        hasher.update(value.flatten().view(torch.uint8).numpy().tobytes())
    elif isinstance(value, Mapping):
        for key in value:
            _update(hasher, [key, value[key]])
    elif isinstance(value, list | tuple):
        hasher.update(f"[{len(value)}]".encode())
        for part in value:
            _update(hasher, part)
    elif isinstance(value, str | bytes | int | float | None):
        hasher.update(repr(value).encode())
    else:  # its repr may contain an address, which changes from process to process
        hasher.update(type(value).__qualname__.encode())
