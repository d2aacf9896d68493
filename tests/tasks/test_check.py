"""Every field of a task is validated before any work."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from autocompress.compress import Network
from autocompress.errors import TaskError
from autocompress.tasks import Metric, Task, accuracy, boxes, check_task, classes, values
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset


class Changed(nn.Module):
    """A linear layer whose output `change` spoils."""

    def __init__(self, change: Callable[[Tensor], Any]):
        super().__init__()
        self.linear, self.change = nn.Linear(2, 2), change

    def forward(self, x: Tensor) -> Any:
        return self.change(self.linear(x))


def test_a_good_task_passes_with_its_baseline_and_without_notes(task: Task) -> None:
    checked = check_task(task)
    inputs, targets = task.validation[:]  # type: ignore[index]
    assert checked.baseline == accuracy(task.model(inputs), targets)
    assert 0.85 < checked.train_metric_sample < 1 and checked.notes == ()


def test_the_users_model_stays_as_it_is(task: Task) -> None:
    calls: list[str] = []
    model = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.Linear(8, 2))
    model.train()
    model[1].eval()
    model[0].requires_grad_(False)
    model[3].register_forward_hook(lambda *_: calls.append("called"))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    checked = check_task(replace(task, model=model))
    Network.trace(model, task.example_inputs)
    assert [module.training for module in model.modules()] == [True, True, False, True, True]
    assert not any(module.training for module in checked.task.model.modules())
    assert [parameter.requires_grad for parameter in model.parameters()] == [False, False] + 4 * [True]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(value.dtype == state[name].dtype for name, value in model.state_dict().items())
    before = len(calls)
    model(torch.zeros(2, 2))
    assert len(calls) == before + 1 and all(parameter.grad is None for parameter in model.parameters())


def test_a_wrapped_model_is_checked_without_its_wrapper(task: Task) -> None:
    wrapped = check_task(replace(task, model=nn.DataParallel(task.model)))
    assert wrapped.digest == check_task(task).digest and type(wrapped.task.model) is type(task.model)


WRONG_FIELDS = {
    "no name": ({"name": " "}, "name is empty"),
    "model is no module": ({"model": print}, "model must be a torch.nn.Module"),
    "model without parameters": ({"model": nn.ReLU()}, "no parameters"),
    "half precision": ({"model": nn.Linear(2, 2).half()}, r"torch.float16: convert with model.float"),
    "model of another shape": ({"model": nn.Linear(3, 2)}, r"model failed: RuntimeError.*example_inputs"),
    "NaN output": ({"model": Changed(lambda y: y / 0)}, "NaN or infinite"),
    "not a tensor": ({"model": Changed(lambda y: {"logits": y.tolist()})}, "returns a dict without a tensor"),
    "batch is lost": ({"model": Changed(lambda y: y.mean(0))}, "dimension 0 must be the batch"),
    "samples depend on each other": ({"model": Changed(lambda y: y - y.mean(0))}, "on the rest of its batch"),
    "dropout": (
        {"model": Changed(lambda y: nn.functional.dropout(y.repeat(1, 50), 0.5))}, "differs between two runs"
    ),
    "frozen": ({"model": nn.Linear(2, 2).requires_grad_(False)}, "requires_grad_"),
    "lone example": ({"example_inputs": torch.zeros(2, 2)}, r"write \(x,\)"),
    "outputs is no tuple": ({"outputs": "classes"}, r"outputs must be a tuple such as \(classes"),
    "outputs of another model": ({"outputs": (classes(), values())}, "2 entries, but the model has 1 outputs"),
    "classes of the batch": ({"outputs": (classes(dim=0),)}, "has 2 dimensions, the batch first"),
    "too few coordinates": ({"outputs": (boxes(),)}, "boxes of 4 coordinates .*, but output 0 has shape 2×2"),
    "scalar example": ({"example_inputs": (torch.tensor(1.0),)}, "batch dimension 0"),
    "unequal batches": ({"example_inputs": (torch.zeros(2, 2), torch.zeros(3, 2))}, r"batch sizes \[2, 3\]"),
    "split missing": ({"test": None}, "test must be a dataset or a DataLoader"),
    "empty split": ({"validation": []}, "validation is empty"),
    "samples without target": ({"test": TensorDataset(torch.zeros(4, 2))}, "test.*pairs"),
    "other inputs": (
        {"train": TensorDataset(torch.zeros(4, 3), torch.zeros(4))}, "train gives inputs of float32 3, but"
    ),
    "other types": (
        {"test": TensorDataset(torch.zeros(4, 2).double(), torch.zeros(4))}, "test gives inputs of float64 2"
    ),
    "loss not callable": ({"loss": 1}, "loss must be callable"),
    "loss per sample": ({"loss": nn.CrossEntropyLoss(reduction="none")}, "must return a scalar"),
    "loss NaN": ({"loss": lambda y, t: y.sum() * math.nan}, "loss is nan"),
    "loss is a float": ({"loss": lambda y, t: 1.0}, "loss must return a tensor"),
    "loss without gradient": ({"loss": lambda y, t: y.detach().sum()}, "no gradient"),
    "loss raises": ({"loss": lambda y: y}, "loss failed: TypeError"),
    "augment changes the shape": (
        {"augment": lambda x, y: (x[:, :1], y)}, "augment gives inputs of float32 1"
    ),
    "tokens without an input": ({"used_tokens": [1, 2]}, "must have the values of inputs by name"),
    "tokens of another input": ({"used_tokens": {"ids": [1]}}, "has the input 'ids': the model has"),
    "tokens of a float": ({"used_tokens": {0: [1]}}, "input 0 of float32: it is for whole numbers"),
    "metric is a function": ({"metric": accuracy}, "metric must be a Metric"),
    "metric in two ways": (
        {"metric": Metric(name="m", function=accuracy, update=accuracy)}, "metric must have one of"
    ),
    "metric of no library": ({"metric": Metric(name="m", torchmetric=3)}, "must be a torchmetrics.Metric"),
    "metric direction": (
        {"metric": Metric(name="m", function=accuracy, direction="up")},  # type: ignore[arg-type]
        "'up' must be",
    ),
    "metric NaN": (
        {"metric": Metric(name="m", function=lambda y, t: math.nan)},
        "'m' of the original.* on validation is nan",
    ),
    "metric in per cent": ({"metric": Metric(name="m", function=lambda y, t: 91.7)}, "no fraction"),
    "metric raises": (
        {"metric": Metric(name="m", function=lambda y, t: {"y": 0.0}["x"])},
        r"KeyError: 'x' \(.*test_check.py",
    ),
    "metric returns text": (
        {"metric": Metric(name="m", function=lambda y, t: "good")},  # type: ignore[arg-type,return-value]
        "metric failed: ValueError",
    ),
    "preprocessing": ({"preprocessing": {"mean": np.float32(1)}}, "preprocessing must be a mapping of JSON"),
    "seed": ({"seed": "1"}, "seed must be an int"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), WRONG_FIELDS.values(), ids=WRONG_FIELDS.keys())
def test_a_wrong_field_is_named_with_its_remedy(task: Task, change: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        check_task(replace(task, **change))
    assert "\n" not in str(caught.value)


def test_the_same_object_as_two_splits_is_refused(task: Task) -> None:
    with pytest.raises(TaskError, match="validation and test are the same object"):
        check_task(replace(task, test=task.validation))


@pytest.mark.parametrize("loaders", [False, True], ids=["datasets", "loaders"])
def test_splits_that_share_samples_are_refused(task: Task, loaders: bool) -> None:
    shared = Subset(task.train, range(20))  # type: ignore[arg-type]
    leaking: Dataset[Any] = ConcatDataset([task.test, shared])  # type: ignore[list-item]
    leaky = DataLoader(leaking, batch_size=7, shuffle=True) if loaders else leaking
    with pytest.raises(TaskError, match=r"train and test share 20 samples, 17% of test"):
        check_task(replace(task, test=leaky))


def test_a_handful_of_equal_samples_is_only_remarked_on(task: Task) -> None:
    shared = Subset(task.train, [3])  # type: ignore[arg-type]
    mixed: Dataset[Any] = ConcatDataset([task.test, shared])  # type: ignore[list-item]
    assert check_task(replace(task, test=mixed)).notes == ("train and test share 1 equal sample.",)


def test_validation_as_good_as_training_near_the_ceiling_is_called_out(task: Task) -> None:
    class Perfect(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(torch.cat([-x[:, :1], x[:, :1]], 1))

    model = Perfect(2, 2, bias=False)
    model.load_state_dict({"weight": torch.eye(2)})
    (note,) = check_task(replace(task, model=model)).notes
    assert "100.00% on validation" in note and "hides every loss" in note


def test_a_small_validation_split_is_called_out(task: Task) -> None:
    small = Subset(task.validation, range(50))  # type: ignore[arg-type]
    (note,) = check_task(replace(task, validation=small)).notes
    assert note == "validation has only 50 samples: one of them is 2.00 percentage points."


def test_a_baseline_of_zero_where_lower_is_better_passes(task: Task) -> None:
    metric = Metric(name="error", function=lambda y, t: 0.0, direction="lower", unit="")
    assert check_task(replace(task, metric=metric)).baseline == 0.0


def test_the_test_split_is_never_scored(task: Task) -> None:
    sizes: list[int] = []

    def counting(outputs: Tensor, targets: Tensor) -> float:
        sizes.append(len(targets))
        return 0.5

    check_task(replace(task, metric=Metric(name="m", function=counting)))
    assert sorted(sizes) == [200, 600]


def test_several_inputs_outputs_and_dictionary_targets_pass() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
            return self.linear(torch.cat([a, b], 1)), a

    def samples(start: int) -> Any:
        return [
            ((torch.tensor([1.0, i]), torch.tensor([2.0])), {"y": i % 2}) for i in range(start, start + 10)
        ]

    task = Task(
        name="two", model=Two(), train=samples(0), validation=samples(100), test=samples(200),
        loss=lambda outputs, targets: nn.functional.cross_entropy(outputs[0], targets["y"]),
        metric=Metric(
            name="mean", unit="",
            function=lambda outputs, targets: float(targets["y"].float().mean() + len(outputs)),
        ),
        example_inputs=(torch.zeros(2, 2), torch.zeros(2, 1)),
    )  # fmt: skip
    assert check_task(task).baseline == 2.5


def test_known_results_of_the_same_task_are_not_computed_again(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = check_task(task)
    monkeypatch.setattr("autocompress.tasks.check.evaluate", None)
    again = check_task(task, earlier=first.to_json())
    assert again.to_json() == first.to_json()


def test_known_results_of_another_task_are_computed_again(task: Task) -> None:
    other = check_task(replace(task, validation=task.train, train=task.validation)).to_json()
    assert check_task(task, earlier=other).digest != other["digest"]


def test_a_slow_model_is_scored_on_a_part_of_a_large_split(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autocompress.tasks.check._VALIDATION_S", 0.0)
    scored: list[int] = []

    def size(outputs: Any, targets: Tensor) -> float:
        scored.append(len(targets))
        return 0.5

    checked = check_task(replace(task, metric=Metric(name="half", function=size)))
    assert scored == [32, 200]  # validation, training samples
    assert any("scored on 32 of" in note for note in checked.notes)
