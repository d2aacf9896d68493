"""Dimensions that a task calls dynamic stay free in every file, and answers are those of torch at any size."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from autocompress.compress import (
    Compressor,
    CompressorOptions,
    Network,
    Precision,
    Recipe,
    Recovery,
    check_outputs,
)
from autocompress.compress.onnx_file.check import relative_error
from autocompress.errors import TaskError
from autocompress.tasks import check_task
from autocompress.tasks.task import Dynamic
from autocompress.tests.compress.artifacts import run
from autocompress.tests.compress.kinds import kind_task
from torch import Tensor, nn

LENGTH = 12


class TextClassifier(nn.Module):
    """Attention with a mask; positions are counted with the length of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.position, self.norm = nn.Embedding(60, 16), nn.Embedding(40, 16), nn.LayerNorm(16)
        self.qkv, self.proj = nn.Linear(16, 48), nn.Linear(16, 16)
        self.up, self.down, self.head = nn.Linear(16, 64), nn.Linear(64, 16), nn.Linear(16, 4)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """N × T and N × T to N × 4."""
        n, t = tokens.shape
        x = self.embed(tokens) + self.position(torch.arange(t, device=tokens.device))
        q, k, v = self.qkv(self.norm(x)).view(n, t, 3, 2, -1).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / 8**0.5 + (1 - mask.float())[:, None, None] * -1e4
        x = x + self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, -1))
        x = x + self.down(F.gelu(self.up(x)))
        m = mask.float()[..., None]
        result: Tensor = self.head((x * m).sum(1) / m.sum(1))
        return result


def spectrogram() -> nn.Module:
    """N × 8 × T to N × 4."""
    return nn.Sequential(
        nn.Conv1d(8, 16, 3, padding=1), nn.BatchNorm1d(16), nn.ReLU(), nn.Conv1d(16, 16, 3),
        nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 4),
    )  # fmt: skip


def texts(length: int) -> tuple[Tensor, ...]:
    """64 texts and their masks; the last token of odd ones is padding."""
    mask = torch.ones(64, length, dtype=torch.long)
    mask[1::2, -1] = 0
    return torch.randint(60, (64, length)), mask


WORDS: Dynamic = {"tokens": {1: "tokens"}, "mask": {1: "tokens"}}
MODELS = {
    "text": (TextClassifier, texts, WORDS),
    "sound": (spectrogram, lambda length: (torch.randn(64, 8, length),), {0: {2: "frames"}}),
}


@pytest.mark.parametrize(("make", "data", "dynamic"), MODELS.values(), ids=MODELS.keys())
def test_a_dynamic_length_is_free_in_every_file(make, data, dynamic, tmp_path):
    torch.manual_seed(0)
    model, inputs = make().eval(), data(LENGTH)
    task = replace(kind_task(model, inputs), dynamic=dynamic)
    compressor = Compressor(task, Network.trace(model, task.example_inputs, dynamic))
    groups = {group.name: group.channels // 2 for group in compressor.network.groups}
    layers = [layer.name for layer in compressor.network.layers if not layer.refusal("int8")]
    int8 = Recipe(precision=dict.fromkeys(layers, "int8"))
    assert len(groups) == 2
    for recipe, allowed in ((Recipe(), 1e-4), (int8, 0.3), (Recipe(keep=groups), None)):
        built = compressor.build(recipe, tmp_path).only
        check_outputs(run(str(built.artifact.path), built.check.inputs), built.check)
        dims = [value.type.tensor_type.shape.dim for value in onnx.load(built.artifact.path).graph.input]
        names = {name for named in dynamic.values() for name in named.values()}
        assert names <= {dim.dim_param for one in dims for dim in one}
        for length in (5, 31):
            other = data(length)
            answer = run(str(built.artifact.path), [x.numpy() for x in other])[0]
            with torch.no_grad():
                expected = model(*other).numpy()
            assert answer.shape == expected.shape and np.isfinite(answer).all()
            assert allowed is None or relative_error(answer, expected) < allowed


def test_the_length_of_other_tasks_is_fixed(tmp_path):
    inputs = texts(LENGTH)
    model = TextClassifier().eval()
    task = kind_task(model, inputs)
    compressor = Compressor(task, Network.trace(model, task.example_inputs))
    built = compressor.build(Recipe(), tmp_path).only
    shape = onnx.load(built.artifact.path).graph.input[0].type.tensor_type.shape
    assert [dim.dim_param or dim.dim_value for dim in shape.dim] == ["batch", LENGTH]


WRONG = {
    "unknown input": ({"words": {1: "tokens"}}, r"dynamic has the input 'words': the model has tokens, mask"),
    "batch": ({"tokens": {0: "tokens"}}, "no dimension of that input behind the batch"),
    "no name": ({"tokens": {1: "a length"}}, "give the dimension a name"),
    "no dictionary": ({"tokens": 1}, "dynamic must name dimensions by input and dimension"),
    "fixed by the model": (
        {"tokens": {1: "tokens"}}, "model failed: .* any size, also half of the example's"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("dynamic", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_dynamic_dimension_is_refused(dynamic, message):
    task = replace(kind_task(TextClassifier(), texts(LENGTH)), dynamic=dynamic)
    with pytest.raises(TaskError, match=message):
        check_task(task)


def test_a_candidate_of_data_whose_lengths_vary_answers_like_torch_at_the_extremes(tmp_path):
    torch.manual_seed(0)
    model = TextClassifier().eval()
    samples: Any = [(tuple(x[0] for x in texts(3 + number % 6)), number % 4) for number in range(120)]
    task = replace(kind_task(model, texts(5)), train=samples, dynamic=WORDS, loss=F.cross_entropy)
    options = CompressorOptions(batch_size=16)
    compressor = Compressor(task, Network.trace(model, task.example_inputs, task.dynamic), options)
    groups = {group.name: group.channels // 2 for group in compressor.network.groups}
    recovery = Recovery(steps=2, learning_rate=1e-4, temperature=2.0, weight=0.5)
    int4: dict[str, Precision] = {
        layer.name: "int4" for layer in compressor.network.layers if not layer.float_only
    }
    for recipe in (Recipe(precision=int4), Recipe(keep=groups, recovery=recovery)):
        built = compressor.build(recipe, tmp_path).only
        checks = (built.check, *built.more_checks)
        lengths = [check.inputs[0].shape[1] for check in checks]
        assert (min(lengths), max(lengths)) == (3, 8)
        for check in checks:
            check_outputs(run(str(built.artifact.path), check.inputs), check)
    assert compressor.probe.kl(Recipe(keep=groups)) > 0
