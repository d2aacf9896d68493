"""Recovery on another device: every tensor of a step is there, and on the CPU before and behind.

No GPU is needed: torch's device "meta" has tensors without values, and most operations refuse to mix two
devices.
"""

from typing import Any

import pytest
import torch
from autocompress.compress import Recovery
from autocompress.compress.graph.devices import move, on_device
from autocompress.compress.graph.graph import clone, get_tensor
from autocompress.compress.graph.tracing.trace import trace
from autocompress.compress.student.distance import Distance, OutputDistance
from autocompress.compress.student.training import recover
from autocompress.compress.student.training.fake_quantize import GridWeights
from autocompress.compress.student.training.recover import distill
from autocompress.tasks import classes
from autocompress.tasks.plain.devices import device_of, on
from autocompress.tests.compress.tasks import tiny_task
from torch.utils._python_dispatch import TorchDispatchMode

ELSEWHERE = torch.device("meta")
DISTANCE = Distance(outputs=(OutputDistance(kind=classes(), scale=1.0),))
RECOVERY = Recovery(steps=2, learning_rate=1e-3, temperature=2.0, weight=0.5, features=0.1)


class Devices(TorchDispatchMode):
    """The devices of what each operation gives, by its name."""

    def __init__(self):
        super().__init__()
        self.seen = {}

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        made = function(*arguments, **(options or {}))
        if isinstance(made, torch.Tensor) and made.dim() > 0:
            self.seen.setdefault(str(function), set()).add(made.device.type)
        return made


@pytest.fixture
def no_values(monkeypatch):
    """A loss without a value is 1."""
    monkeypatch.setattr(torch.Tensor, "item", lambda self: 1.0)


@pytest.mark.parametrize("name", ["mlp", "residual", "encoder", "gpt"])
def test_a_training_computes_on_its_device_alone(name, no_values):
    task = tiny_task(name)
    original = trace(task.model, task.example_inputs)
    student = clone(original)
    grid = GridWeights(student, {}, {})
    move(student, ELSEWHERE)
    training = recover._Training(
        student, on_device(original, ELSEWHERE), task.loss, RECOVERY,
        distance=DISTANCE, grid=grid, frozen=frozenset(), memory_bytes=1 << 16,
    )  # fmt: skip
    training.switch(True)
    batch = (tuple(x[:16] for x in task.train.inputs), task.train.targets[:16])
    with Devices() as devices:
        for number in range(2):
            training.step(batch, 1.0, number)
    assert all(one.grad.device == ELSEWHERE for one in student.parameters() if one.grad is not None)
    products = [kinds for name, kinds in devices.seen.items() if "mm" in name or "convolution" in name]
    assert products and all(kinds == {"meta"} for kinds in products)
    assert device_of(original).type == "cpu"


def test_moving_a_model_moves_its_constants_and_what_makes_tensors():
    class Shifted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 3)

        def forward(self, x):
            return self.layer(x) + torch.arange(3, device=x.device) + torch.tensor([1.0, 2.0, 3.0])

    module = trace(Shifted().eval(), (torch.randn(2, 3),))
    before = module(torch.ones(2, 3))
    move(module, torch.device("meta"))
    assert module(torch.ones(2, 3, device="meta")).device.type == "meta"
    with torch.no_grad():
        assert get_tensor(module, "layer.weight").is_meta
    assert before.shape == (2, 3)


def test_a_batch_moves_however_it_is_nested():
    nested: Any = ((torch.ones(2),), {"a": [torch.ones(2), "name"]})
    moved = on(nested, ELSEWHERE)
    assert moved[0][0].is_meta and moved[1]["a"][0].is_meta and moved[1]["a"][1] == "name"


@pytest.mark.gpu
def test_recovery_on_a_gpu_gives_nearly_what_it_gives_here():
    task = tiny_task("residual")
    original = trace(task.model, task.example_inputs)
    batch = (tuple(x[:64] for x in task.train.inputs), task.train.targets[:64])
    losses = []
    for device in ("cpu", "cuda"):
        student = clone(original)
        with torch.no_grad():
            next(student.parameters()).add_(0.1)
        distill(
            student, original, task.loss, lambda _: iter([batch] * 30),
            Recovery(steps=30, learning_rate=1e-3, temperature=2.0, weight=1.0),
            distance=DISTANCE, seed=0, device=device,
        )  # fmt: skip
        assert device_of(student).type == "cpu"
        with torch.no_grad():
            losses.append(DISTANCE.value(student(*batch[0]), original(*batch[0])))
    assert abs(losses[0] - losses[1]) < 0.3 * losses[0] + 1e-4
