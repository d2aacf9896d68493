"""Models that cannot be compressed, or only in part, say so."""

import onnx
import onnxruntime
import pytest
import torch
from autocompress.compress import Compressor, Network, Recipe, check_outputs
from autocompress.errors import StageError, TaskError
from autocompress.tests.compress.tasks import tiny_task
from autocompress.tests.models import tiny_model
from torch import nn


def trace(model, *inputs):
    return Network.trace(model, inputs)


def assert_answers_like_torch(result):
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(
        "session.x64quantprecision", "1"
    )  # without VNNI, sums of int8 products saturate
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        result.artifact.path, options, disabled_optimizers=["WeightBiasQuantization"]
    )
    outputs = session.run(
        None, {value.name: x for value, x in zip(session.get_inputs(), result.check.inputs, strict=True)}
    )
    check_outputs(outputs, result.check)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named_before_any_work(value):
    last = nn.Linear(8, 2)
    with torch.no_grad():
        last.bias[0] = value
    model = nn.Sequential(nn.Linear(4, 8), last)
    with pytest.raises(TaskError, match=r"1\.bias has NaN or infinite values"):
        trace(model, torch.randn(2, 4))


def test_statistics_that_are_nan_are_named():
    norm = nn.BatchNorm1d(8)
    assert norm.running_var is not None
    norm.running_var[3] = float("nan")
    model = nn.Sequential(nn.Linear(4, 8), norm)
    with pytest.raises(TaskError, match=r"1\.running_var has NaN"):
        trace(model, torch.randn(2, 4))


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("mask", torch.full((4, 4), float("-inf")).triu(1))

    def forward(self, x):
        return self.layer(torch.softmax(x + self.mask, -1))


def test_an_infinite_mask_is_no_bad_weight():
    assert len(trace(Masked(), torch.randn(2, 4, 4)).layers) == 1


class LoopsOverData(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        while x.norm() < 10:
            x = self.layer(x)
        return x


def test_a_loop_that_depends_on_data_is_a_clear_error():
    with pytest.raises(TaskError, match="remove control flow that depends on data"):
        trace(LoopsOverData(), torch.randn(2, 4))


class HasAnUnusedLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused, self.last = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.last(torch.relu(self.used(x)))


def test_a_layer_that_never_runs_is_listed_and_not_stored():
    network = trace(HasAnUnusedLayer(), torch.randn(2, 4))
    assert {e.name: e.reason for e in network.excluded}["unused"] == "the model never runs it"
    assert [layer.name for layer in network.layers] == ["used", "last"]
    assert network.parameters == 4 * 8 + 8 + 8 * 2 + 2


def test_a_model_with_frozen_parameters_is_pruned_and_quantized(tmp_path):
    task = tiny_task("chain")
    task.model.requires_grad_(False)
    network = Network.trace(task.model, task.example_inputs)
    recipe = Recipe(
        keep={group.name: 8 for group in network.groups},
        precision={layer.name: "int8" for layer in network.layers},
    )
    assert_answers_like_torch(Compressor(task, network).build(recipe, tmp_path).only)
    assert not any(parameter.requires_grad for parameter in task.model.parameters())


class CallsTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.twice, self.last = nn.Linear(20, 16), nn.Linear(16, 16), nn.Linear(16, 10)

    def forward(self, x):
        return self.last(torch.relu(self.twice(torch.relu(self.twice(torch.relu(self.first(x)))))))


def test_a_shared_layer_is_pruned_once_for_all_its_calls(tmp_path):
    task = tiny_task("mlp")
    object.__setattr__(task, "model", CallsTwice().eval())
    network = Network.trace(task.model, task.example_inputs)
    assert {layer.name: layer.uses for layer in network.layers} == {"first": 1, "twice": 2, "last": 1}
    result = Compressor(task, network).build(Recipe(keep={"first": 8}), tmp_path).only
    assert_answers_like_torch(result)
    assert result.artifact.parameters == 20 * 8 + 8 + 8 * 8 + 8 + 8 * 10 + 10


class SharesOneWeight(nn.Module):
    """Two convolutions with one weight and a bias each, as the heads of a detector have; the inputs' ranges
    differ.
    """

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(16, 10)
        self.a, self.b = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.b.weight = self.a.weight
        nn.init.ones_(self.a.get_parameter("bias"))

    def forward(self, x):
        x = self.a(torch.relu(self.a(torch.relu(4 * self.first(x)))))
        return self.last(torch.relu(self.b(torch.relu(x))).mean((2, 3)))


@pytest.mark.parametrize(("name", "model"), [("mlp", CallsTwice), ("chain", SharesOneWeight)])
def test_each_call_of_a_shared_layer_has_its_own_bias_in_integers(name, model, tmp_path):
    torch.manual_seed(0)
    task = tiny_task(name)
    object.__setattr__(task, "model", model().eval())
    network = Network.trace(task.model, task.example_inputs)
    recipe = Recipe(
        precision={layer.name: "int4" for layer in network.layers}
    )  # 4 bits: their sums saturate nowhere
    result = Compressor(task, network).build(recipe, tmp_path).only
    assert_answers_like_torch(result)
    written = onnx.load(result.artifact.path)
    biases = {node.input[2] for node in written.graph.node if node.op_type in ("Conv", "Gemm")}
    assert len(biases) == sum(node.op_type in ("Conv", "Gemm") for node in written.graph.node)
    assert biases <= {node.output[0] for node in written.graph.node if node.op_type == "DequantizeLinear"}


@pytest.mark.parametrize("name", ["chain", "encoder"])
def test_one_calibration_image_is_enough(name, tmp_path):
    task = tiny_task(name)
    object.__setattr__(task, "train", torch.utils.data.Subset(task.train, [0]))
    network = Network.trace(task.model, task.example_inputs)
    recipe = Recipe(
        keep={group.name: group.channels // 2 for group in network.groups},
        precision={layer.name: "int8" for layer in network.layers},
    )
    assert_answers_like_torch(Compressor(task, network).build(recipe, tmp_path).only)


@pytest.mark.parametrize(
    ("keep", "message"),
    [({"0.0": 17}, "17 cannot"), ({"x": 1}, "no group 'x'")],
)
def test_a_keep_count_that_no_group_has_is_a_failure_of_pruning(keep, message, tmp_path):
    task = tiny_task("chain")
    with pytest.raises(StageError, match=message) as error:
        Compressor(task, Network.trace(task.model, task.example_inputs)).build(Recipe(keep=keep), tmp_path)
    assert error.value.stage == "prune"


@pytest.mark.parametrize(
    ("name", "layer", "reason"),
    [
        ("upsampler", "up", "transposed convolution"),
        ("gru", "recurrent.weight_ih_l0", "recurrent layer"),
        ("lstm", "recurrent.weight_hh_l0", "recurrent layer"),
        ("decoder", "head", "table of an embedding"),
    ],
)
def test_layers_that_stay_float32_say_why(name, layer, reason):
    row = tiny_model(name)
    network = Network.trace(row.build(), row.example_inputs())
    assert reason in next(one.float_only for one in network.layers if one.name == layer)
