"""The built-in task `onnx`: an .onnx file, an .npz file, loss and metric by name."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from autocompress.compress.graph.graph import operation
from autocompress.compress.graph.tracing.trace import trace
from autocompress.errors import TaskError
from autocompress.tasks import Task, check_task, load_task
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

NOISE = np.random.default_rng(0)


class Net(nn.Module):
    """A convolution with a norm, a residual block with a gate, attention over positions, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.SiLU())
        self.gate = nn.Conv2d(8, 8, 1)
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        y = y + y * self.gate(y.mean((2, 3), keepdim=True)).sigmoid()
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), y.flatten(2).transpose(1, 2)], 1)
        tokens = self.norm(tokens)
        n, length, width = tokens.shape
        q, k, v = self.qkv(tokens).reshape(n, length, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.head(mixed.transpose(1, 2).reshape(n, length, width)[:, 0])


def network() -> nn.Module:
    torch.manual_seed(0)
    net = Net()
    norm = net.stem[1]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None
    norm.running_mean.normal_()
    norm.weight.data.uniform_(0.5, 2)
    return net.eval()


def write_network(path: Path, *, dynamo: bool, free: bool = True) -> None:
    """Exports the network by one of torch's two exporters."""
    x = torch.randn(2 if free else 1, 3, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            shapes = ({0: torch.export.Dim.DYNAMIC},) if free else None
            torch.onnx.export(
                network(), (x,), path, dynamo=True, dynamic_shapes=shapes, external_data=False, verbose=False
            )
        else:
            axes = {"image": {0: "n"}} if free else None
            torch.onnx.export(network(), (x,), path, dynamo=False, input_names=["image"], dynamic_axes=axes)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network from both exporters, and with its batch size fixed to 1; data with its own answers."""
    folder = tmp_path_factory.mktemp("onnx")
    write_network(folder / "new.onnx", dynamo=True)
    write_network(folder / "old.onnx", dynamo=False)
    write_network(folder / "fixed.onnx", dynamo=False, free=False)
    x = NOISE.normal(size=(60, 3, 8, 8)).astype(np.float32)
    with torch.inference_mode():
        np.savez(folder / "data.npz", x=x, y=network()(torch.from_numpy(x)).argmax(1).numpy())
    return folder


def load(folder: Path, model: str, **changed: str) -> Task:
    arguments = {"data": str(folder / "data.npz"), "metric": "accuracy"} | changed
    return load_task("onnx", {"model": str(folder / model)} | arguments)


@pytest.mark.parametrize("model", ["new.onnx", "old.onnx", "fixed.onnx"])
def test_a_file_of_torchs_exporters_answers_like_the_model_and_is_traced_like_any_other(
    exports: Path, model: str
) -> None:
    task, x = load(exports, model), torch.randn(5, 3, 8, 8)
    traced = trace(task.model, task.example_inputs)
    torch.testing.assert_close(traced(x), network()(x), rtol=1e-4, atol=1e-5)
    kinds = [operation(node) for node in traced.graph.nodes]
    assert kinds.count("linear") == 2 and kinds.count("conv2d") == 2 and "layer_norm" in kinds


def test_the_task_is_valid_and_its_metric_that_of_the_model(exports: Path) -> None:
    assert check_task(load(exports, "new.onnx")).baseline == 1.0


@pytest.mark.parametrize("model", ["new.onnx", "old.onnx"])
def test_weights_have_the_names_of_the_model_and_can_be_trained(exports: Path, model: str) -> None:
    parameters = dict(load(exports, model).model.named_parameters())
    expected = {"stem.0.weight", "gate.weight", "norm.weight", "token", "head.weight", "head.bias"}
    assert expected <= parameters.keys() and parameters["qkv.bias"].shape == (24,)


# --- single operators against ONNX Runtime

OPERATORS: dict[str, tuple[str, list[Any], dict[str, Any], tuple[int, ...]]] = {
    "Gemm": ("Gemm", [(4, 3)], {"alpha": 0.5, "transB": 0}, (4,)),
    "LeakyRelu": ("LeakyRelu", [], {"alpha": 0.2}, (4,)),
    "HardSigmoid": ("HardSigmoid", [], {"alpha": 0.3}, (4,)),
    "Softmax over rows": ("Softmax", [], {"axis": 1}, (3, 4)),
    "ReduceL2": ("ReduceL2", [np.array([1])], {}, (3, 4)),
    "Clip": ("Clip", [np.float32(-0.5), np.float32(0.5)], {}, (4,)),
    "SAME padding": ("Conv", [(2, 3, 3, 3)], {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, (3, 8, 8)),
    "uneven padding": ("MaxPool", [], {"kernel_shape": [3, 3], "pads": [0, 0, 1, 1]}, (3, 8, 8)),
    "AveragePool": ("AveragePool", [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, (3, 8, 8)),
    "ConvTranspose": ("ConvTranspose", [(3, 2, 2, 2)], {"strides": [2, 2]}, (3, 4, 4)),
    "DepthToSpace": ("DepthToSpace", [], {"blocksize": 2}, (8, 3, 3)),
    "SpaceToDepth": ("SpaceToDepth", [], {"blocksize": 2}, (2, 4, 4)),
    "PRelu": ("PRelu", [(3, 1, 1)], {}, (3, 4, 4)),
    "Pad": ("Pad", [np.array([0, 0, 1, 0, 0, 2])], {"mode": "reflect"}, (3, 4)),
    "Slice backwards": (
        "Slice",
        [np.array([-1]), np.array([-99]), np.array([2]), np.array([-1])],
        {},
        (3, 4),
    ),
    "Tile": ("Tile", [np.array([1, 2, 1])], {}, (3, 4)),
    "GatherElements": ("GatherElements", [np.array([[[0, -1]], [[1, 0]]])], {"axis": 2}, (1, 4)),
    "LRN": ("LRN", [], {"size": 3}, (4, 3, 3)),
    "TopK": ("TopK", [np.array([2])], {}, (5,)),
}


def write_operator(
    path: Path, kind: str, inputs: list[Any], attributes: dict[str, Any], shape: tuple[int, ...]
) -> None:
    """A file with this one operator, its other inputs random tensors of a shape, or given arrays."""
    arrays = [
        NOISE.normal(size=one).astype(np.float32) if isinstance(one, tuple) else np.asarray(one)
        for one in inputs
    ]
    tensors = [numpy_helper.from_array(array, f"w{index}") for index, array in enumerate(arrays)]
    outputs = ["y", "indices"] if kind == "TopK" else ["y"]
    node = helper.make_node(kind, ["x", *(tensor.name for tensor in tensors)], outputs, **attributes)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "one", [x], [y], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_answers_like_onnx_runtime(tmp_path: Path, name: str) -> None:
    """Loading refuses a file whose answers differ."""
    kind, inputs, attributes, shape = OPERATORS[name]
    write_operator(tmp_path / "one.onnx", kind, inputs, attributes, shape)
    count = 2 if name == "GatherElements" else 12
    x = NOISE.normal(size=(count, *shape)).astype(np.float32)
    splits = {
        f"{split}_{key}": array
        for split in ("train", "validation", "test")
        for key, array in (("x", x), ("y", x))
    }
    np.savez(tmp_path / "data.npz", allow_pickle=True, **splits)
    assert load(tmp_path, "one.onnx", metric="mse").model(torch.from_numpy(x)).shape[0] == count


# --- what is refused


def test_an_operator_without_a_rule_is_named(exports: Path, tmp_path: Path) -> None:
    write_operator(tmp_path / "one.onnx", "Det", [], {}, (4, 4))
    with pytest.raises(TaskError, match=r"has the operator Det, which cannot be followed: export .*\.pt2"):
        load(exports, str(tmp_path / "one.onnx"))


def test_a_quantized_file_is_refused_with_the_remedy(exports: Path, tmp_path: Path) -> None:
    model = onnx.load(exports / "old.onnx")
    model.graph.node.append(helper.make_node("DequantizeLinear", ["a", "b"], ["c"], name="d"))
    onnx.save(model, tmp_path / "int8.onnx")
    with pytest.raises(TaskError, match=r"is quantized \(DequantizeLinear \(d\)\): give the float32 model"):
        load(exports, str(tmp_path / "int8.onnx"))


def test_a_file_in_half_precision_is_refused(exports: Path, tmp_path: Path) -> None:
    model = onnx.load(exports / "old.onnx")
    model.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.zeros(3, np.float16), model.graph.initializer[0].name)
    )
    onnx.save(model, tmp_path / "half.onnx")
    with pytest.raises(TaskError, match=r"half precision \(.* is float16\): give the float32 model"):
        load(exports, str(tmp_path / "half.onnx"))


def test_answers_that_contain_one_batch_are_refused(tmp_path: Path) -> None:
    """Only the first sample of a batch is used, which a file for one sample does not show."""
    nodes = [
        helper.make_node("Gather", ["x", "first"], ["row"]),
        helper.make_node("Mul", ["x", "row"], ["y"]),
    ]
    first = numpy_helper.from_array(np.array([0]), "first")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    graph = helper.make_graph(nodes, "first", [x], [y], [first])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9),
        tmp_path / "one.onnx",
    )
    samples = NOISE.normal(size=(20, 4)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=samples, y=samples)
    with pytest.raises(
        TaskError, match=r"answers differ by .* from those of ONNX Runtime. Export it with a free"
    ):
        load(tmp_path, "one.onnx", metric="mse")


def test_several_outputs_need_the_name_of_one(exports: Path, tmp_path: Path) -> None:
    model = onnx.load(exports / "new.onnx")
    model.graph.output.append(helper.make_tensor_value_info(model.graph.node[-2].output[0], 1, None))
    onnx.save(model, tmp_path / "two.onnx")
    name = model.graph.output[0].name
    with pytest.raises(TaskError, match=f"more than one output: give --task-arg output= one of {name}, "):
        load(exports, str(tmp_path / "two.onnx"))
    with pytest.raises(TaskError, match="no output 'z'"):
        load(exports, str(tmp_path / "two.onnx"), output="z")
    assert load(exports, str(tmp_path / "two.onnx"), output=name)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"metric": "f1"}, "no metric 'f1' by name"),
        ({"model": "nowhere.onnx"}, "no model .*give an .onnx file"),
        ({"model": "data.npz"}, "Reading .*data.npz failed.*Give an .onnx file"),
        ({"data": "nowhere.npz"}, "no data file"),
    ],
)
def test_a_wrong_argument_is_one_clear_error(exports: Path, changed: dict[str, str], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        load(exports, **{"model": "old.onnx"} | changed)


def test_samples_of_another_shape_are_told(exports: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((20, 3, 8), np.float32), y=np.arange(20))
    with pytest.raises(TaskError, match=r"x in .* is 12×3×8, but the model takes N×3×"):
        load(exports, "fixed.onnx", data=str(tmp_path / "data.npz"))


def test_entries_of_a_mask_are_taken_for_each_sample_where_the_file_has_one(tmp_path: Path) -> None:
    """As in transformers that torch's newer exporter wrote for one sample."""
    indices = numpy_helper.from_array(np.array([[[0, 2], [0, 0], [0, 1]]]), "indices")
    node = helper.make_node("GatherND", ["x", "indices"], ["y"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])
    graph = helper.make_graph([node], "mask", [x], [y], [indices])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "mask.onnx")
    samples = NOISE.normal(size=(20, 4)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=samples, y=samples[:, [2, 0, 1]])
    network = load(tmp_path, "mask.onnx", metric="mse").model
    np.testing.assert_array_equal(network(torch.from_numpy(samples)).detach(), samples[:, [2, 0, 1]])
