"""Validates a task before any work: every field, the model on its example, the data, the loss, the metric.

Reading order: `check_task`, then the checks in the order of their cost. All raise a TaskError that names the
field and the remedy. Anything suspicious but usable becomes a note, which is shown before the search.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..errors import TaskError
from ..files import canonical_json
from .boundary import RECIPE, user_code
from .data import batches, sample_count
from .identity import task_digest
from .metrics.from_torchmetrics import is_torchmetric
from .outputs.derive import output_kinds
from .outputs.model_check import batch_notes, check_model, with_batch_hint
from .plain.call import form_of
from .plain.devices import copied_to
from .plain.dynamic import dims_of_task
from .plain.plain_task import plain_task
from .plain.weights import refuse_prepared
from .quality import as_tuple, evaluate, samples_within, shape_text
from .splits.grouping import Inputs
from .splits.overlap import overlap_notes
from .splits.shapes import looks_at, require_like_example
from .splits.tokens import unlisted_notes
from .splits.varying import names_that_vary, require_all_sizes, size_notes, with_varying_dims
from .task import Metric, Split, Task

_TRAIN_SAMPLE = 1_000
_VALIDATION_S, _TRAIN_S = 20.0, 10.0  # at most about so long, the original is scored in torch
_NEAR_CEILING = 0.01
_BATCHES = 4  # whose loss is looked at where sizes vary


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedTask:
    """A task that passed, its model a plain copy in eval mode, with the metric of the original model.

    The task has `outputs`; `derived_outputs` says that they come from the loss, not from the user. `baseline`
    is the metric on validation, `train_metric_sample` that on at most 1,000 training samples; the test split
    is not scored. `digest` identifies model, data and metric. `notes` are sentences for the user. `varying`
    are the names of the free dimensions whose size differs between samples. `device` is the kind of device on
    which the model was scored.
    """

    task: Task
    baseline: float
    train_metric_sample: float
    notes: tuple[str, ...]
    digest: str
    derived_outputs: bool
    varying: tuple[str, ...] = ()
    device: str = "cpu"

    @property
    def output_texts(self) -> tuple[str, ...]:
        """What each output means, in words."""
        return tuple(map(str, self.task.outputs or ()))

    def to_json(self) -> dict[str, Any]:
        """A JSON value with which `check_task(task, earlier=…)` skips expensive checks of the same task."""
        return {
            "baseline": self.baseline,
            "train_metric_sample": self.train_metric_sample,
            "notes": list(self.notes),
            "digest": self.digest,
            "device": self.device,
        }


def check_task(task: Task, *, earlier: Mapping[str, Any] | None = None, device: str = "cpu") -> CheckedTask:
    """The validated task with a plain copy of its model, in eval mode; the user's stays as it is.

    Raises TaskError.

    `earlier` is what `to_json()` wrote before. If its digest is that of the task, metric and notes are taken
    from it instead of being computed again, which takes a pass over the data. The model is scored on the
    `device` if it runs there; what was scored on another kind of device is scored again.
    """
    place = torch.device(device)
    _check_fields(task)
    refuse_prepared(task.model)
    _check_parameters(task)
    with with_batch_hint(task):
        task = plain_task(task)
    check_model(task)
    looks = [look for name, split in _splits(task) for look in looks_at(name, split)]
    sized = with_varying_dims(task, looks)
    for look in looks:
        require_like_example(look.split, look.inputs, sized.inputs, dims_of_task(sized))
    require_all_sizes(sized, looks)
    varying = names_that_vary(sized, looks)
    _check_loss(sized, batches_checked=_BATCHES if varying else 1)
    with user_code("Reading the data"):
        digest = task_digest(task)
        scores = None if earlier is None else _scored_before(digest, earlier, place.type)
        if scores is None:
            notes = overlap_notes(_splits(task)) + unlisted_notes(task.used_tokens, _splits(task))
    if scores is None:
        scores = _scored(replace(task, model=copied_to(place, task.model, task.inputs)), notes)
    return CheckedTask(
        task=replace(sized, outputs=task.outputs or output_kinds(task)),
        baseline=scores[0],
        train_metric_sample=scores[1],
        notes=tuple(dict.fromkeys(scores[2] + batch_notes(task) + size_notes(sized, looks))),
        digest=digest,
        derived_outputs=task.outputs is None,
        varying=tuple(varying),
        device=place.type,
    )


def _scored(task: Task, notes: tuple[str, ...]) -> tuple[float, float, tuple[str, ...]]:
    """The metrics of the original, each on as many samples as there is time for, and the notes."""
    with user_code("Running the model on validation"):
        part = samples_within(task.model, task.validation, seconds=_VALIDATION_S)
    with user_code("Running the model on train"):
        seen = samples_within(task.model, task.train, seconds=_TRAIN_S)
    sample = _TRAIN_SAMPLE if seen is None else min(seen, _TRAIN_SAMPLE)
    baseline, train = _metric_of(task, "validation", part), _metric_of(task, "train", sample)
    if part is not None:
        count = sample_count(task.validation)
        text = f"The original was scored on {part} of {count or 'the'} validation samples so far"
        notes += (f"{text}: its file is scored on all of them, when the search begins.",)
    return baseline, train, notes + _metric_notes(task, baseline, train)


def _scored_before(
    digest: str, earlier: Mapping[str, Any], device: str
) -> tuple[float, float, tuple[str, ...]] | None:
    """The metrics and notes of an earlier check; None if that was of another task or kind of device, or is
    damaged.
    """
    baseline, sample, notes = (earlier.get(key) for key in ("baseline", "train_metric_sample", "notes"))
    same = earlier.get("digest") == digest and earlier.get("device", "cpu") == device
    if not same or not isinstance(notes, list):
        return None
    if not isinstance(baseline, float) or not isinstance(sample, float):
        return None
    if not math.isfinite(baseline) or not math.isfinite(sample):
        return None
    return baseline, sample, tuple(map(str, notes))


def _splits(task: Task) -> list[tuple[str, Split]]:
    return [("train", task.train), ("validation", task.validation), ("test", task.test)]


def _check_fields(task: Task) -> None:
    _require(isinstance(task, Task), f"A task must be an autocompress.tasks.Task, not {type(task).__name__}.")
    _require(isinstance(task.name, str) and task.name.strip(), "name is empty: give the task a name.")
    _require(
        isinstance(task.model, nn.Module),
        f"model must be a torch.nn.Module, not {type(task.model).__name__}: make the network, and load its "
        "weights with load_weights(network, path).",
    )
    for name, part in [("loss", task.loss), ("augment", task.augment or len)]:
        _require(
            callable(part), f"{name} must be callable as {name}(…, targets), but is {type(part).__name__}."
        )
    _check_metric(task.metric)
    _check_batch(task)
    _check_example(task)
    by_dim = isinstance(task.dynamic, Mapping) and all(isinstance(x, Mapping) for x in task.dynamic.values())
    _require(by_dim, 'dynamic must name dimensions by input and dimension, as in {"tokens": {1: "length"}}.')
    _require(
        isinstance(task.resolutions, tuple) and all(map(_is_resolution, task.resolutions)),
        f"resolutions must be a tuple of shares between 0 and 1, or of (height, width), as in (0.75, 0.5), "
        f"not {task.resolutions!r}.",
    )
    used = task.used_tokens
    _require(
        isinstance(used, Mapping) and all(_is_whole_numbers(tokens) for tokens in used.values()),
        'used_tokens must have the values of inputs by name, as in {"tokens": range(500)}.',
    )
    _require(isinstance(task.seed, int), f"seed must be an int, not {task.seed!r}.")
    try:
        canonical_json(dict(task.preprocessing))
    except (TypeError, ValueError) as error:
        raise TaskError(
            f"preprocessing must be a mapping of JSON values (numbers, strings, lists): {error}."
        ) from error
    splits = _splits(task)
    for position, (name, split) in enumerate(splits):
        for other, earlier in splits[:position]:
            _require(
                split is not earlier,
                f"{other} and {name} are the same object: give each split its own samples.",
            )


def _check_metric(metric: Metric) -> None:
    _require(
        isinstance(metric, Metric),
        f"metric must be a Metric(name=…, function=…) or a torchmetrics.Metric, not {type(metric).__name__}.",
    )
    ways = [metric.function, metric.update, metric.torchmetric]
    _require(
        sum(way is not None for way in ways) == 1,
        "metric must have one of function=…, update=… (with compute=…) and torchmetric=….",
    )
    _require(
        metric.torchmetric is None or is_torchmetric(metric.torchmetric),
        f"metric.torchmetric must be a torchmetrics.Metric, not {type(metric.torchmetric).__name__}.",
    )
    for name in ("function", "prepare", "update", "arguments"):
        part = getattr(metric, name)
        _require(
            part is None or callable(part), f"metric.{name} must be callable as {name}(outputs, targets)."
        )
    _require(metric.compute is None or callable(metric.compute), "metric.compute must be callable.")
    _require(
        metric.direction in ("higher", "lower"),
        f"metric.direction {metric.direction!r} must be 'higher' or 'lower'.",
    )
    _require(metric.unit in ("fraction", ""), f"metric.unit {metric.unit!r} must be 'fraction' or ''.")


def _is_resolution(value: object) -> bool:
    if isinstance(value, tuple):
        return len(value) == 2 and all(type(size) is int and size > 0 for size in value)
    return isinstance(value, float) and 0 < value < 1


def _is_whole_numbers(tokens: object) -> bool:
    listed = isinstance(tokens, Iterable) and not isinstance(tokens, str | bytes)
    return listed and all(isinstance(token, Integral) for token in cast(Iterable[object], tokens))


def _check_batch(task: Task) -> None:
    size = task.batch
    _require(
        size is None or size == "free" or (type(size) is int and size > 0),
        f"batch must be 'free', the only batch size that the model takes, or None, not {size!r}.",
    )
    for name, split in _splits(task):
        single = isinstance(split, DataLoader) and split.batch_size is None and split.batch_sampler is None
        _require(
            size is not None or not single,
            f"{name} is a loader that gives single samples: give its dataset, or a loader with batch_size=1.",
        )


def _check_example(task: Task) -> None:
    example = task.example_inputs
    named = isinstance(example, Mapping)
    _require(
        not named or all(isinstance(name, str) and name.isidentifier() for name in example),
        "example_inputs must have the names of the model's parameters as keys.",
    )
    values = list(example.values()) if isinstance(example, Mapping) else example
    batched = task.batch is not None
    tensors = isinstance(values, tuple | list) and all(
        isinstance(x, Tensor) and (x.ndim or not batched) for x in values
    )
    what = "with a batch dimension 0" if batched else "of one sample"
    _require(
        tensors and values and (named or isinstance(example, tuple)),
        f"example_inputs must be a tuple of tensors {what}, or a dictionary of such: for one input write "
        "(x,).",
    )
    if not batched:
        return
    sizes = [len(x) for x in values]
    _require(
        min(sizes) > 0 and len(set(sizes)) == 1,
        f"example_inputs have batch sizes {sizes}: they must be equal, ≥ 1.",
    )


def _check_parameters(task: Task) -> None:
    for name, parameter in task.model.named_parameters():
        _require(not parameter.is_meta, "model is on the device meta, without values: load its weights.")
        _require(parameter.device.type == "cpu", f"model is on {parameter.device}: move it with model.cpu().")
        _require(
            parameter.dtype == torch.float32,
            f"model has {name} in {parameter.dtype}: convert with model.float().",
        )
    _require(
        any(True for _ in task.model.parameters()), "model has no parameters: there is nothing to compress."
    )


def _check_loss(task: Task, *, batches_checked: int) -> None:
    """The loss of (augmented) training batches is a finite scalar with finite gradients."""
    source = batches(task.train, batch_size=8, seed=task.seed, augment=task.augment)
    trained = [parameter for parameter in task.model.parameters() if parameter.requires_grad]
    _require(
        trained, "model has only frozen parameters: call model.requires_grad_(True), recovery trains them."
    )
    for _ in range(batches_checked):
        with user_code("augment" if task.augment else "Reading train"):
            inputs, targets = next(source)
        dims = dims_of_task(task)
        require_like_example("augment" if task.augment else "train", inputs, task.inputs, dims)
        _check_loss_of(task, inputs, targets, trained)


def _check_loss_of(task: Task, inputs: Inputs, targets: Any, trained: list[nn.Parameter]) -> None:
    with user_code("loss", remedy=f"It is called as loss(outputs, targets) on a batch{_named_outputs(task)}"):
        outputs = as_tuple(task.model(*inputs))
        value = task.loss(outputs[0] if len(outputs) == 1 else outputs, targets)
    _require(
        isinstance(value, Tensor),
        f"loss must return a tensor, but returned a {type(value).__name__}: leave out float() or item().",
    )
    _require(
        value.ndim == 0, f"loss must return a scalar, but returned shape {shape_text(value)}: take its mean."
    )
    _require(bool(value.isfinite()), f"loss is {value.item()} on a training batch: it must be finite.")
    _require(value.requires_grad, "loss has no gradient: compute it with torch operations on the outputs.")
    gradients = torch.autograd.grad(value, trained, allow_unused=True)
    finite = all(bool(gradient.isfinite().all()) for gradient in gradients if gradient is not None)
    _require(finite, "loss has NaN or infinite gradients on a training batch.")


def _named_outputs(task: Task) -> str:
    """What the outputs are, where the model gives them names."""
    form = form_of(task.model)
    if form is None or not form.named or not form.outputs:
        return ""
    names = ", ".join(form.outputs)
    return f', outputs a dictionary with {names}: take one, as in outputs["{form.outputs[0]}"]. {RECIPE[:-1]}'


def _metric_of(task: Task, name: str, limit: int | None) -> float:
    split = dict(_splits(task))[name]
    with user_code(f"Running the model on {name}"):
        value = evaluate(task.model, split, task.metric, limit=limit)
    text = f"metric {task.metric.name!r} of the original model on {name} is {value}"
    _require(math.isfinite(value), f"{text}: it must be a finite number; check metric.function and the data.")
    fraction = task.metric.unit != "fraction" or 0 <= value <= 1
    _require(fraction, f"{text}, no fraction: return a value in 0..1, or set unit=''.")
    return value


def _metric_notes(task: Task, baseline: float, train: float) -> tuple[str, ...]:
    notes = []
    count = sample_count(task.validation) or 0
    if task.metric.unit == "fraction" and 0 < count < 500:
        notes.append(
            f"validation has only {count} samples: one of them is {100 / count:.2f} percentage points."
        )
    if task.metric.unit == "fraction" and _equal_near_ceiling(task, baseline, train):
        notes.append(
            f"The original model scores {baseline:.2%} on validation and {train:.2%} on training samples: "
            "it looks as if it was trained on the validation split, which hides every loss; "
            "use samples that it has not seen."
        )
    return tuple(notes)


def _equal_near_ceiling(task: Task, baseline: float, train: float) -> bool:
    """Both within 1 % of perfect, and closer than 1.5 standard errors of their difference."""
    misses = [baseline, train]
    if task.metric.direction == "higher":
        misses = [1 - value for value in misses]
    counts = [
        sample_count(task.validation) or 1_000,
        min(sample_count(task.train) or _TRAIN_SAMPLE, _TRAIN_SAMPLE),
    ]
    mean = sum(misses) / 2
    error = math.sqrt(mean * (1 - mean) * sum(1 / count for count in counts))
    return max(misses) <= _NEAR_CEILING and abs(misses[0] - misses[1]) <= 1.5 * error


def _require(condition: object, message: str) -> None:
    if not condition:
        raise TaskError(message)
