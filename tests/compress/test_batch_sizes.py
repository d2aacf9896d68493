"""Models that take one batch size only, or single samples: built files answer like them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from autocompress.compress import Compressor, CompressorOptions, Network, Recipe, Recovery, check_outputs
from autocompress.compress.onnx_file.check import relative_error
from autocompress.errors import TaskError
from autocompress.tasks import Task
from autocompress.tasks.plain.plain_task import plain_task
from autocompress.tests.compress.artifacts import run
from autocompress.tests.compress.kinds import kind_task
from torch import Tensor, nn

FEW = CompressorOptions(
    database_samples=32, refit_samples=16, calibration_samples=32, statistics_samples=32, batch_size=16
)
RECOVERY = Recovery(steps=2, learning_rate=1e-3, temperature=2.0, weight=0.5)


class Picture(nn.Module):
    """1 × 8 × 8 to 4: one picture."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(256, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.second(self.first(x).relu()).relu(), 2)
        result: Tensor = self.head(x.reshape(-1))
        return result


class Sequence(nn.Module):
    """5 × 6 to 4: one sequence, its time in front."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.state = nn.Linear(6, 16), nn.GRU(16, 8)
        self.hidden, self.head = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.hidden(self.state(self.embed(x).relu())[0][-1]).relu())
        return result


class Four(nn.Module):
    """4 × 1 × 8 × 8 to 4 × 4: its code has the batch size."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.second, self.head = nn.Conv2d(16, 16, 3), nn.Linear(576, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.norm(self.first(x)).relu()).relu()
        result: Tensor = self.head(x.view(4, -1))
        return result


Make = Callable[[], nn.Module]
MODELS: dict[str, tuple[Make, tuple[int, ...], int | None]] = {
    "picture": (Picture, (1, 8, 8), None),
    "sequence": (Sequence, (5, 6), None),
    "four": (Four, (1, 8, 8), 4),
}


def task_of(make: Make, shape: tuple[int, ...], batch: int | None) -> tuple[Task, Tensor, Tensor]:
    """A plain task with 30 samples, the first 8 of them, and what the model answers to these."""
    torch.manual_seed(0)
    model, samples = make().eval(), torch.randn(30, *shape)
    with torch.no_grad():
        answers = [model(part) for part in (samples[:8] if batch is None else samples[:8].split(batch))]
    example = samples[0] if batch is None else samples[:2]
    task = replace(kind_task(model, (samples,)), example_inputs=(example,), batch=batch)
    return plain_task(task), samples[:8], torch.stack(answers).reshape(8, 4)


@pytest.mark.parametrize(("make", "shape", "batch"), MODELS.values(), ids=MODELS.keys())
def test_files_have_the_models_batch_size_and_its_answers(make, shape, batch, tmp_path):
    task, samples, answers = task_of(make, shape, batch)
    network = Network.trace(task.model, task.example_inputs)
    compressor, size = Compressor(task, network, FEW), batch or 1
    layers = [layer.name for layer in network.layers if not layer.float_only]
    half = {group.name: group.channels // 2 for group in network.groups}
    assert half
    small = Recipe(keep=half, precision=dict.fromkeys(layers, "int4"), recovery=RECOVERY)
    files = [compressor.build(recipe, tmp_path).only for recipe in (Recipe(), small)]
    for built in files:
        assert len(built.check.inputs[0]) == size
        check_outputs(run(str(built.artifact.path), built.check.inputs), built.check)
    model = onnx.load(files[0].artifact.path)
    assert [value.type.tensor_type.shape.dim[0].dim_value for value in model.graph.input] == [size]
    parts = np.split(samples.numpy(), 8 // size)
    ours = np.concatenate([run(str(files[0].artifact.path), [part])[0] for part in parts])
    assert relative_error(ours, answers.numpy()) < 1e-5


@pytest.mark.parametrize(("make", "shape", "batch"), MODELS.values(), ids=MODELS.keys())
def test_a_plain_model_takes_batches_of_any_size(make, shape, batch):
    task, samples, answers = task_of(make, shape, batch)
    with torch.no_grad():
        for count in (1, 3, 8):
            torch.testing.assert_close(task.model(samples[:count]), answers[:count])


def test_code_that_counts_samples_is_told_to_fix_its_batch():
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            rows = [self.linear(row) for row in x]
            return torch.stack(rows)

    task = kind_task(Counts(), (torch.randn(30, 6),))
    with pytest.raises(TaskError, match=r"depends on the batch size.*as in batch=1"):
        Network.trace(plain_task(task).model, task.example_inputs)
    fixed = plain_task(replace(task, batch=2))
    assert Network.trace(fixed.model, fixed.example_inputs).layers
