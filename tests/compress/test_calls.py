"""Models with keyword inputs, dictionaries and nested outputs: checked, built and scored like others."""

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

import onnx
import pytest
import torch
import torch.nn.functional as F
from autocompress.compress import Compressor, Network, Recipe, check_outputs
from autocompress.compress.onnx_file.check import relative_error
from autocompress.errors import TaskError
from autocompress.tasks import Metric, Task, check_task
from autocompress.tests.compress.artifacts import run
from torch import Tensor, nn
from torch.utils.data import DataLoader


class ModelOutput(OrderedDict):
    """As in transformers: a dictionary whose values are attributes too."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


@dataclass
class Answer:
    logits: Tensor
    hidden: tuple[Tensor, ...]
    cache: Any = None


class Cache:
    """Values of earlier tokens."""


class Text(nn.Module):
    """Embeds tokens; `give` makes of logits and a hidden state what it returns."""

    def __init__(self, give: Any):
        super().__init__()
        self.embed, self.up, self.head, self.give = (
            nn.Embedding(20, 16),
            nn.Linear(16, 32),
            nn.Linear(32, 4),
            give,
        )

    def forward(
        self, *, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None, **_: Any
    ) -> Any:
        """N × T to what `give` returns."""
        mask = attention_mask.unsqueeze(-1).float()
        pooled = (self.embed(input_ids) * mask).sum(1) / mask.sum(1)
        return self.give(self.head(F.relu(self.up(pooled))), F.relu(pooled))


NAMED = {
    "dictionary": (lambda y, h: {"logits": y, "relu": h}, ["logits", "relu"]),
    "model output": (lambda y, h: ModelOutput(logits=y, past_key_values=Cache(), loss=None), ["logits"]),
    "one tensor twice": (lambda y, h: {"linear_1": y, "logits": y}, ["linear_1", "logits"]),
    "dataclass": (lambda y, h: Answer(y, (h, 2 * h), Cache()), ["logits", "hidden.0", "hidden.1"]),
}


def rows(count: int, seed: int) -> list[Any]:
    """Samples with named inputs; the order of the names varies."""
    generator = torch.Generator().manual_seed(seed)
    samples: list[Any] = []
    for index in range(count):
        tokens, mask = torch.randint(20, (6,), generator=generator), torch.ones(6, dtype=torch.long)
        inputs = {"input_ids": tokens, "attention_mask": mask}
        samples.append((dict(reversed(inputs.items())) if index % 2 else inputs, int(tokens[0]) % 4))
    return samples


def text_task(give: Any) -> Task:
    torch.manual_seed(0)
    tokens = torch.randint(20, (2, 6))
    return Task(
        name="text",
        model=Text(give),
        train=rows(80, 0),  # type: ignore[arg-type]
        validation=DataLoader(rows(64, 1), batch_size=16),  # type: ignore[arg-type]
        test=rows(64, 2),  # type: ignore[arg-type]
        loss=lambda outputs, targets: F.cross_entropy(outputs["logits"], targets),
        metric=Metric(
            name="top-1", function=lambda outputs, y: float((outputs["logits"].argmax(1) == y).float().mean())
        ),
        example_inputs={"input_ids": tokens, "attention_mask": torch.ones_like(tokens)},
        augment=lambda inputs, targets: ({**inputs, "input_ids": inputs["input_ids"].flip(1)}, targets),
    )


@pytest.mark.parametrize(("give", "names"), NAMED.values(), ids=NAMED.keys())
def test_named_inputs_and_outputs_are_checked_and_built(give, names, tmp_path):
    task = text_task(give)
    checked = check_task(task).task
    network = Network.trace(checked.model, checked.example_inputs)
    compressor = Compressor(checked, network)
    assert "up" in [group.name for group in network.groups]
    for recipe in (Recipe(), Recipe(precision={"up": "int8", "head": "int8"}), Recipe(keep={"up": 16})):
        built = compressor.build(recipe, tmp_path).only
        answers = run(str(built.artifact.path), built.check.inputs)
        check_outputs(answers, built.check)
        file = onnx.load(built.artifact.path)
        assert [value.name for value in file.graph.input] == ["input_ids", "attention_mask"]
        assert [value.name for value in file.graph.output] == names
    original = compressor.build(Recipe(), tmp_path).only
    ids, mask = (torch.from_numpy(x) for x in original.check.inputs)
    expected = task.model.eval()(input_ids=ids, attention_mask=mask)
    logits = expected["logits"] if isinstance(expected, dict) else expected.logits
    answer = run(str(original.artifact.path), original.check.inputs)[names.index("logits")]
    assert relative_error(answer, logits.detach().numpy()) < 1e-4


def test_a_direct_trace_takes_named_inputs_too():
    task = text_task(lambda y, h: {"logits": y})
    assert [layer.name for layer in Network.trace(task.model, task.example_inputs).layers] == [
        "embed",
        "up",
        "head",
    ]


class OfOneDictionary(Text):
    """Takes the dictionary itself."""

    def forward(self, batch: dict[str, Tensor]) -> Any:  # type: ignore[override]
        """As above."""
        return super().forward(**batch)


def test_a_forward_that_takes_one_dictionary_gets_it(tmp_path):
    task = text_task(lambda y, h: {"logits": y})
    model = OfOneDictionary(task.model.give)
    model.load_state_dict(task.model.state_dict())
    checked = check_task(replace(task, model=model)).task
    compressor = Compressor(checked, Network.trace(checked.model, checked.example_inputs))
    built = compressor.build(Recipe(), tmp_path).only
    answer = run(str(built.artifact.path), built.check.inputs)[0]
    ids, mask = (torch.from_numpy(x) for x in built.check.inputs)
    expected = task.model.eval()(input_ids=ids, attention_mask=mask)["logits"]
    assert relative_error(answer, expected.detach().numpy()) < 1e-4


class Several(nn.Module):
    """Any number of inputs, nested outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, *inputs: Tensor) -> Any:
        """Two tensors N × 4 to (N × 3, (N × 8, None))."""
        hidden = F.relu(self.a(inputs[0] + inputs[1]))
        return self.b(hidden), (hidden, None)


def test_any_number_of_inputs_and_nested_outputs_are_flattened(tmp_path):
    samples = [((torch.randn(4), torch.randn(4)), i % 3) for i in range(240)]
    task = Task(
        name="several", model=Several(),
        train=samples[:80], validation=samples[80:160], test=samples[160:],  # type: ignore[arg-type]
        loss=lambda outputs, targets: F.cross_entropy(outputs[0], targets),
        metric=Metric(name="outputs", function=lambda outputs, _: len(outputs), unit=""),
        example_inputs=(torch.randn(2, 4), torch.randn(2, 4)),
    )  # fmt: skip
    checked = check_task(task)
    assert checked.baseline == 2
    compressor = Compressor(checked.task, Network.trace(checked.task.model, checked.task.example_inputs))
    built = compressor.build(Recipe(precision={"a": "int8"}), tmp_path).only
    check_outputs(run(str(built.artifact.path), built.check.inputs), built.check)
    assert len(built.check.expected) == 2


WRONG = {
    "no pairs": (
        lambda task: [{"input_ids": torch.zeros(6), "label": 0}] * 8,
        "train: .*gives a dict of 2. docs/tasks.md has a recipe of ten lines",
    ),
    "other names": (
        lambda task: rows(8, 3) and [({"input_ids": torch.zeros(6).long()}, 0)] * 8,
        "train: its samples have inputs named input_ids, but example_inputs has attention_mask, input_ids",
    ),
    "no names": (
        lambda task: [((torch.zeros(6), torch.zeros(6)), 0)] * 8,
        "train: its samples have inputs without names",
    ),
}


@pytest.mark.parametrize(("samples", "message"), WRONG.values(), ids=WRONG.keys())
def test_inputs_with_other_names_are_refused(samples, message):
    task = text_task(lambda y, h: {"logits": y})
    with pytest.raises(TaskError, match=message):
        check_task(replace(task, train=samples(task)))


def test_a_loss_that_takes_the_named_outputs_for_a_tensor_is_told_their_names():
    task = replace(text_task(lambda y, h: {"logits": y}), loss=F.cross_entropy)
    with pytest.raises(TaskError, match=r'a dictionary with logits: take one, as in outputs\["logits"\]'):
        check_task(task)


def test_an_output_without_a_batch_is_named():
    with pytest.raises(TaskError, match="output 'auxiliary' has shape scalar for a batch of 1"):
        check_task(text_task(lambda y, h: {"logits": y, "auxiliary": y.mean()}))
