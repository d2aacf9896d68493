"""Which value of the exported model is which node of the graph."""

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from autocompress.compress import Compressor, Network, Recipe, check_outputs
from autocompress.compress.graph.graph import fold_batch_norms, get_tensor, operation
from autocompress.compress.graph.tracing.trace import trace
from autocompress.compress.onnx_file.export import _tie, export_template, fill_template
from autocompress.compress.onnx_file.locate import Expected, same
from autocompress.tests.compress.artifacts import run
from autocompress.tests.compress.kinds import kind_task
from onnx import numpy_helper
from torch import Tensor, nn


class EqualTensors(nn.Module):
    """Two normalizations that never saw data, and two equal buffers, in front of a layer."""

    def __init__(self):
        super().__init__()
        self.one, self.other, self.layer = nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1)
        self.register_buffer("shift", torch.full((3, 1, 1), 0.5))
        self.register_buffer("second", torch.full((3, 1, 1), 0.5))

    def forward(self, x):
        return self.layer(self.other(self.one(x).relu() + self.shift).relu() + self.second)


def test_equal_statistics_are_filled_one_by_one_and_equal_buffers_not_at_all():
    folded = fold_batch_norms(trace(EqualTensors().eval(), (torch.randn(4, 3, 5, 5),)))
    template = export_template(folded, (torch.randn(4, 3, 5, 5),), 21)
    assert {"shift", "second"} <= template.baked.keys()
    get_tensor(folded, "one.running_mean").add_(1)
    assert template.serves(folded)
    names = {tensor.name: tensor for tensor in fill_template(template, folded).graph.initializer}
    one, other = (names[template.parameters[f"{norm}.running_mean"].initializer] for norm in ("one", "other"))
    assert (numpy_helper.to_array(one) == 1).all() and (numpy_helper.to_array(other) == 0).all()
    get_tensor(folded, "second").add_(1)
    assert not template.serves(folded)


def test_a_pooling_of_one_pixel_is_told_from_its_input():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    x = torch.randn(4, 3, 2, 2)
    folded = fold_batch_norms(trace(nn.Sequential(*layers, nn.Linear(4, 2)).eval(), (x,)))
    template = export_template(folded, (x,), 21)
    makers = {name: node.op_type for node in template.model.graph.node for name in node.output}
    by_operation = {operation(node): node.name for node in folded.graph.nodes}
    kinds = {
        name: makers[template.values[by_operation[name]]]
        for name in ("conv2d", "relu", "adaptive_avg_pool2d")
    }
    assert kinds == {"conv2d": "Conv", "relu": "Relu", "adaptive_avg_pool2d": "GlobalAveragePool"}


def test_dead_activations_are_told_apart_by_their_order():
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
    for layer in (first, second):
        nn.init.constant_(layer.get_parameter("bias"), -100)
    model = nn.Sequential(first, nn.ReLU(inplace=True), second, nn.ReLU())
    folded = fold_batch_norms(trace(model.eval(), (x := torch.randn(4, 3, 5, 5),)))
    template = export_template(folded, (x,), 21)
    inputs = {node.output[0]: node.input[0] for node in template.model.graph.node if node.op_type == "Relu"}
    relus = [node for node in folded.graph.nodes if operation(node) == "relu"]
    assert [inputs[template.values[node.name]] for node in relus] == [
        template.values[node.args[0].name] for node in relus
    ]


def test_values_and_parameters_that_agree_in_their_first_numbers_only_are_told_apart():
    value = np.linspace(1.0, 2.0, 10_000, dtype=np.float32).reshape(100, 100)
    other = value.copy()
    other[57, 33] += 0.5
    assert same(value, value.copy()) and not same(value, other) and not same(value, value[:50])
    expected = Expected(value)
    assert expected.is_close(value * 1.0001) and not expected.is_close(other)
    assert not expected.is_close([value]) and not Expected(np.full(1, 3.0)).is_close(np.zeros(1))


class Attention(nn.Module):
    """Three heads over the tokens, with biases of zero as an initialization has them, beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.proj = (nn.Linear(24, 24) for _ in range(4))
        for layer in (self.q, self.k, self.v, self.proj):
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, _ = x.shape
        q, k, v = (layer(x).view(n, tokens, -1, 8).transpose(1, 2) for layer in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(q, k, v).reshape(-1, q.shape[1], tokens, 8)
        return x + self.proj(mixed.transpose(1, 2).contiguous().view(n, tokens, -1))


class Attentions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first, self.second = nn.Linear(6, 24), Attention(), Attention()
        self.head = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.second(self.first(self.stem(x))).mean(1))
        return result


def test_heads_behind_a_removed_attention_are_quantized_and_nothing_is_exported_again(tmp_path, monkeypatch):
    torch.manual_seed(0)
    task = kind_task(Attentions().eval(), (torch.randn(32, 5, 6),))
    compressor = Compressor(task, Network.trace(task.model, task.example_inputs))
    compressor.build(Recipe(), tmp_path)
    monkeypatch.setattr(
        "autocompress.compress.onnx_file.templates.export_template", lambda *_: pytest.fail("exported again")
    )
    first, _ = compressor.network.blocks
    recipe = Recipe(skip=(first.name,), keep={"second.q": 1}, precision={"second.proj": "int8"})
    built = compressor.build(recipe, tmp_path).only
    check_outputs(run(built.artifact.path, built.check.inputs), built.check)


def test_a_sum_with_a_bias_of_zeros_is_told_from_what_it_is_added_to():
    torch.manual_seed(0)
    folded = fold_batch_norms(trace(Attentions().eval(), (x := torch.randn(2, 5, 6),)))
    template = export_template(folded, (x,), 21)
    makers = {name: node.op_type for node in template.model.graph.node for name in node.output}
    layers = [node.name for node in folded.graph.nodes if operation(node) == "linear"]
    assert {makers[template.values[name]] for name in layers} <= {"Add", "Gemm"}


class CalledTwice(nn.Module):
    """Two calls of the same layers, as ALBERT has for all of its depth."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.head = nn.Linear(16, 48), nn.Linear(48, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(2):
            x = x + self.down(F.relu(self.up(x)))
        result: Tensor = self.head(x.mean(1))
        return result


def test_all_calls_of_a_layer_read_one_weight(tmp_path):
    torch.manual_seed(0)
    task = kind_task(CalledTwice().eval(), (torch.randn(32, 5, 16),))
    compressor = Compressor(task, Network.trace(task.model, task.example_inputs))
    for recipe in (Recipe(), Recipe(keep={"up": 24}), Recipe(precision={"up": "w4", "down": "int4"})):
        built = compressor.build(recipe, tmp_path).only
        check_outputs(run(built.artifact.path, built.check.inputs), built.check)
        model = onnx.load(built.artifact.path)
        large = [tensor for tensor in model.graph.initializer if np.prod(tensor.dims) > 16 * 16]
        assert len(large) == 2


def test_a_matrix_that_is_stored_both_ways_and_twice_is_not_made_of_itself():
    """ "a" is equal to "z", and "m" is both transposed; the one that stays is the last by name."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    arrays = {"z": array, "a": array, "m": np.ascontiguousarray(array.T)}
    nodes = [onnx.helper.make_node("MatMul", ["x", name], [f"{name}_out"]) for name in arrays]
    stored = [numpy_helper.from_array(each, name) for name, each in arrays.items()]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], [], stored))
    _tie(model)
    made = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Transpose"}
    assert made == {"z": "m"} and [tensor.name for tensor in model.graph.initializer] == ["m"]
    assert [node.input[1] for node in model.graph.node if node.op_type == "MatMul"] == ["z", "z", "m"]
