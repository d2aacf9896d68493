"""run.py of a bundle: its options, its sentences, and what it makes of an image."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from autocompress.deploy.bundle import write_bundle
from autocompress.files import digest_of_file
from autocompress.results.view import RunOn
from autocompress.tasks.digits import digits
from autocompress.tasks.image_folder import _PREPROCESSING, Cropped
from autocompress.tasks.sources.detection.annotations import AnnotatedImage
from autocompress.tasks.sources.detection.images import ObjectImages
from autocompress.tasks.sources.detection.models import _PREPROCESSING as DETECTOR
from autocompress.tests.deploy.bundled.program import imported
from autocompress.tests.deploy.small_run import TASK, small_run
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

MEAN, STD, CLASSES = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), ["ant", "bee\x1b[2J", "cat"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a model of images of 8 x 6 pixels: the mean of each channel is the value of a class."""
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)],
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
    )
    how = _PREPROCESSING | {"size": [8, 6], "mean": list(MEAN), "std": list(STD), "classes": CLASSES}
    return bundled(graph, how, tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a model of images of 16 x 16 pixels that sees the same in all: a bee, twice, and a cat."""
    seen = np.array(
        [[8, 8, 4, 4, 0, 0.9, 0], [8.2, 8, 4, 4, 0, 0.6, 0], [2, 6, 8, 2, 0, 0, 0.5], [9, 9, 2, 2, 0.2, 0, 0]]
    )
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["rows"], axes=[3], keepdims=0),
        helper.make_node("ReduceMean", ["rows"], ["mean"], axes=[1, 2]),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "seen"], ["y"]),
    ]
    constants = {"zero": np.zeros((1, 1, 1)), "seen": seen.T[None]}
    graph = helper.make_graph(
        nodes,
        "boxes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 7, 4])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()],
    )
    how = DETECTOR | {"size": [16, 16], "classes": CLASSES}
    return bundled(graph, how, tmp_path_factory.mktemp("boxes"))


def bundled(graph: onnx.GraphProto, how: Mapping[str, Any], folder: Path) -> Path:
    """The bundle of the original, which is this graph, with inputs that are prepared so."""
    file = folder / "run/artifacts/0.onnx"
    run = small_run(folder / "run")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), file)
    run = replace(run, facts=replace(run.facts, task=replace(TASK, preprocessing=how)))
    point = RunOn.of(run, "cpu").baseline
    facts = replace(point.artifact, digest=digest_of_file(file), size_bytes=file.stat().st_size)
    point = replace(point, measured=replace(point.measured, artifact=facts))
    write_bundle(point, file, folder / "bundle")
    return folder / "bundle"


def run_py(bundle: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(bundle / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_predict_prepares_an_image_as_the_task_did(bundle):
    script, pixels = imported(bundle), np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    script.how["size"] = [8, 8]
    expected = Cropped(size=8, mean=MEAN, std=STD)(Image.fromarray(pixels)).numpy()
    assert np.abs(script.prepared(pixels)[0] - expected).max() < 1e-5
    script.how["size"] = [8, 6]
    image = pixels[:8, :6]
    ((name, output),) = script.predict(image).items()
    scaled = (image / 255 - MEAN) / STD
    assert name == "y" and output[0] == pytest.approx(scaled.mean((0, 1)), abs=1e-5)
    assert script.classes_of(output)[0][0] == CLASSES[int(output[0].argmax())]
    assert script.predict(script.prepared(image))["y"] == pytest.approx(output)


def test_a_scan_of_digits_is_prepared_as_its_task_does(bundle):
    script = imported(bundle)
    script.how.clear()
    script.how.update(digits.__globals__["_PREPROCESSING"])
    scan = np.arange(64).reshape(8, 8) % 17
    assert script.prepared(scan)[0, 0] == pytest.approx(scan / 8 - 1)


@pytest.mark.parametrize(
    ("array", "there"),
    [
        (np.zeros((1, 3, 8, 6, 1)), "[1, 3, 8, 6, 1] of float64"),
        (np.zeros((1, 3, 9, 6)), "[1, 3, 9, 6] of float64"),
        (np.zeros((1, 3, 8, 6), complex), "[1, 3, 8, 6] of complex128"),
        (np.array("text"), "[] of <U4"),
    ],
    ids=["rank", "shape", "type", "text"],
)
def test_an_input_that_does_not_fit_is_one_sentence(bundle, array, there):
    with pytest.raises(ValueError) as refused:
        imported(bundle).predict(array)
    assert str(refused.value) == f"input x takes [batch, 3, 8, 6] of float32, not {there}."


def test_too_many_inputs_are_refused_and_an_image_that_cannot_be_resized(bundle):
    with pytest.raises(ValueError, match=r"^The model has 1 input \(x\), not 2\.$"):
        imported(bundle).predict(np.zeros(1), np.zeros(1))
    with pytest.raises(ValueError, match="9 x 9 pixels of float64: give uint8"):
        imported(bundle).predict(np.zeros((9, 9, 3)))


def test_run_py_helps_times_and_names_the_class_of_an_image_file(bundle, tmp_path):
    Image.new("RGB", (30, 20), (0, 255, 0)).save(tmp_path / "green.png")
    seen = run_py(bundle, str(tmp_path / "green.png"))
    assert seen.returncode == 0 and "class: bee\\x1b[2J (2)" in seen.stdout, seen.stderr
    helped = run_py(bundle, "--help")
    assert helped.returncode == 0 and "--benchmark" in helped.stdout and "from run import" in helped.stdout
    timed = run_py(bundle, "--benchmark", "0.05")
    assert timed.returncode == 0 and "p50 " in timed.stdout and "the machine's drift" in timed.stdout
    wrong = run_py(bundle, str(tmp_path / "no.npy"))
    assert wrong.returncode == 2 and len(wrong.stderr.splitlines()) == 1


def test_run_py_of_a_detector_tells_objects_in_pixels_of_the_image(detector, tmp_path):
    Image.new("RGB", (40, 20), (0, 255, 0)).save(tmp_path / "green.png")
    told = run_py(detector, str(tmp_path / "green.png"))
    assert told.returncode == 0, told.stderr
    lines = [line for line in told.stdout.splitlines() if line.startswith("object: ")]
    assert lines == ["object: bee\\x1b[2J (0.90) 15.0 5.0 25.0 15.0", "object: cat (0.50) 0.0 2.5 15.0 7.5"]


def test_a_detector_prepares_an_image_as_its_task_did_and_detects_in_a_program(detector, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    expected, _ = ObjectImages([AnnotatedImage(path=tmp_path / "noise.png", boxes=())], size=16)[0]
    script = imported(detector)
    assert np.abs(script.prepared(pixels)[0] - expected.numpy()).max() < 1e-6
    (name, score, *sides), (other, *_) = script.detect(pixels)
    assert (name, other) == (CLASSES[1], "cat") and score == pytest.approx(0.9)
    assert sides == pytest.approx([15, 5, 25, 15])
    in_input = script.objects_of(script.predict(script.prepared(pixels))["y"])
    assert in_input[0][2:] == pytest.approx([6, 6, 10, 10])


def test_a_reader_that_has_enough_is_no_fault_of_the_model(bundle):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, str(bundle / "run.py")]
    seen = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writing)
    assert (seen.returncode, seen.stderr) == (0, b"")


def test_lengths_of_the_same_name_must_agree_over_inputs(bundle):
    script = imported(bundle)
    shape, dtype = ["batch", "length"], np.dtype("int64")
    vars(script).update(names=["a", "b"], dtypes=[dtype] * 2, shapes=[shape] * 2)
    assert script.checked([np.zeros((1, 5), int), np.ones((1, 5), int)]).keys() == {"a", "b"}
    with pytest.raises(ValueError, match="input b takes"):
        script.checked([np.zeros((1, 5), int), np.ones((1, 6), int)])
    with pytest.raises(ValueError, match="of float64"):
        script.checked([np.zeros((1, 5)), np.ones((1, 5))])
