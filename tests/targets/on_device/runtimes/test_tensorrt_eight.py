"""TensorRT 8: files that it would misread are refused with the lines that mend them, and files of those lines
are run rightly.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from autocompress.compress import Compressor, Network, Recipe, check_outputs
from autocompress.compress.options import CompressorOptions
from autocompress.errors import InputError, StageError
from autocompress.evaluation.targets import format_of
from autocompress.profiles import Profile, load_profile
from autocompress.targets.doctor import doctor
from autocompress.targets.on_device.runtimes.tensorrt_gpu.build import OPTIONS, logger_of, set_flags
from autocompress.targets.on_device.runtimes.tensorrt_gpu.eight import lines_for, opset_of
from autocompress.targets.target import Target
from autocompress.tests.compress.tasks import tiny_task
from autocompress.tests.targets import models
from autocompress.tests.targets.gpu import FAKE, fake_driver, use_fake_gpu
from autocompress.tests.targets.models import QUICK
from onnx import TensorProto, helper

LINES = {"8.5.3": "opset = 16", "8.6.1": "opset = 17"}


@pytest.fixture(params=LINES)
def version(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A version of TensorRT 8 that workers find from here on, on a fake GPU."""
    monkeypatch.setattr("autocompress.targets.control.TOLERANCE", 100.0)
    use_fake_gpu(monkeypatch, driver=fake_driver(tmp_path), cache=tmp_path / "cache", version=request.param)
    return request.param


def profile_in(folder: Path, lines: str) -> Profile:
    (folder / "mine.toml").write_text(f'inherits = "gpu"\n{lines}\n')
    return load_profile(str(folder / "mine.toml"))


def test_a_file_that_it_would_misread_is_refused_with_the_lines_that_mend_it(
    version: str, tmp_path: Path
) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    model = models.save(tmp_path / "m.onnx", [node], inputs={"x": ["batch", 4]}, opset=18)
    message = (
        f'TensorRT {version} .*this file has opset 18: set {LINES[version]} and int8_weights = "float32"'
    )
    with Target(load_profile("gpu")).session() as session, pytest.raises(InputError, match=message):
        session.measure(model, model, QUICK)


def test_integers_that_it_refuses_are_told_with_the_lines_that_mend_it(version: str, tmp_path: Path) -> None:
    model = models.quantized_chain(tmp_path / "m.onnx", precisions="q")
    weights = onnx.load(model)
    for tensor in weights.graph.initializer:  # without zero points, as for TensorRT, but with integers
        if tensor.data_type == TensorProto.UINT8:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(0, np.int8), tensor.name))
    bias = next(node for node in weights.graph.node if node.output[0].endswith("bias_dq"))
    weights.graph.node.remove(bias)
    next(node for node in weights.graph.node if node.op_type == "Conv").input.pop()
    onnx.save(weights, model)
    x = models.samples(tmp_path / "x.npz", np.ones((1, 16, 16, 16), np.float32))
    with (
        Target(load_profile("gpu")).session() as session,
        pytest.raises(StageError, match=f"Int8 .set {LINES[version]} and int8"),
    ):
        session.run(model, x, batch=1)


@pytest.mark.parametrize("version", ["8.5.3", pytest.param("8.6.1", marks=pytest.mark.slow)], indirect=True)
def test_files_of_these_lines_answer_like_torch(version: str, tmp_path: Path) -> None:
    profile = profile_in(tmp_path, f'{LINES[version]}\nint8_weights = "float32"')
    task = tiny_task("attention")  # layer normalization, and means over an axis
    compressor = Compressor(
        task,
        Network.trace(task.model, task.example_inputs),
        CompressorOptions(formats=(format_of(profile),), check_samples=2),
    )
    names = [layer.name for layer in compressor.network.layers if not layer.float_only]
    recipe = Recipe(
        precision={name: ("int8", "float16", "float32")[index % 3] for index, name in enumerate(names)}
    )
    built = compressor.build(recipe, tmp_path).only
    x = models.samples(tmp_path / "x.npz", *built.check.inputs)
    with Target(profile).session() as session:
        check_outputs(session.run(built.artifact.path, x, batch=2), built.check)


def test_the_doctor_says_which_lines_a_target_lacks(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = doctor(load_profile("gpu"))[-1]
    assert (finding.name, finding.ok, finding.needed) == ("files", False, True) and finding.remedy
    assert "opset 19 and weights in int8" in finding.detail
    assert (
        f"say {LINES[version]} and int8_weights" in finding.remedy and "inherits from 'gpu'" in finding.remedy
    )
    measured: list[int | None] = []  # the opset of what the doctor measures, which must be readable, too

    def control(_: Target, path: Path) -> SimpleNamespace:
        measured.append(opset_of(str(path)))
        return SimpleNamespace(ratio=1.0)

    monkeypatch.setattr(Target, "control", control)
    for lines in (
        f'{LINES[version]}\nint8_weights = "float32"',
        'opset = 17\nprecisions = ["float32", "float16"]',
    ):
        assert "files" not in {item.name for item in doctor(profile_in(tmp_path, lines))}
    assert measured == [17, 17]


def test_only_version_8_has_lines_of_its_own() -> None:
    versions = ("8.4.1", "8.5.2", "8.6.10", "9.0.1", "10.3.0", "1.7.1", "18.0")
    found = {text: lines_for(f"{text} sm_87 CUDA 11.4") for text in versions}
    assert {text for text, lines in found.items() if lines} == {"8.4.1", "8.5.2", "8.6.10"}
    assert found["8.5.2"] == 'opset = 16 and int8_weights = "float32"'
    assert found["8.6.10"] is not None and "opset = 17" in found["8.6.10"]


@pytest.mark.parametrize(
    "domains", [[("", 17)], [("com.microsoft", 1), ("", 21)], [("ai.onnx", 300), ("com.microsoft", 1)]]
)
def test_the_opset_is_read_without_loading_the_file(tmp_path: Path, domains: list[tuple[str, int]]) -> None:
    model = onnx.load(models.chain(tmp_path / "m.onnx", layers=2))
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(*pair) for pair in domains)
    onnx.save(model, tmp_path / "m.onnx")
    assert opset_of(str(tmp_path / "m.onnx")) == max(number for _, number in domains)


@pytest.mark.parametrize(
    "content",
    [b"", b"rubbish", b"\x42\x05\x10", b"\x3a\xff\xff\xff\xff", b"\x08", b"\x42" + b"\xff" * 8 + b"\x7f"],
)
def test_what_is_no_model_has_no_opset(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.onnx").write_bytes(content)
    assert opset_of(str(tmp_path / "bad.onnx")) is None
    assert opset_of(str(tmp_path / "missing.onnx")) is None


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The fake of 8.6, in this process: nothing is run."""
    monkeypatch.syspath_prepend(str(FAKE))
    import fake_tensorrt

    yield SimpleNamespace(**fake_tensorrt.api("8.6.1"))
    sys.modules.pop("fake_tensorrt")


def test_sums_of_float32_beside_float16_are_held_in_float32_with_their_squares(
    trt: SimpleNamespace, tmp_path: Path
) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["h"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "f"], ["squares"], name="squares"),
        helper.make_node("ReduceMean", ["squares"], ["variance"], name="variance", axes=[-1]),
        helper.make_node("Softmax", ["variance"], ["s"], name="softmax"),
        helper.make_node("Add", ["s", "f"], ["y"], name="sum"),
    ]
    model = models.save(tmp_path / "m.onnx", nodes, inputs={"x": [1, 4]})
    log = logger_of(trt)
    network = trt.Builder(log).create_network(1)
    assert trt.OnnxParser(network, log).parse_from_file(str(model))
    assert "FP16" in set_flags(trt, network, trt.Builder(log).create_builder_config(), OPTIONS)
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    assert {layer.name for layer in layers if layer.precision == "FLOAT"} == {
        "squares",
        "variance",
        "softmax",
    }
