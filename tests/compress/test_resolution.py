"""Smaller images are a level: the file takes what it took, resizes it, and answers like torch; what depends on
the number of pixels is corrected, or refused with a reason.
"""

import importlib
import re
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from autocompress.compress import Compressor, Network, Recipe, Recovery, check_outputs
from autocompress.compress.options import CompressorOptions, FileFormat
from autocompress.compress.recipe import Precision
from autocompress.compress.student.normalization import moments_of
from autocompress.errors import TaskError
from autocompress.profiles import load_profile
from autocompress.tasks.check import check_task
from autocompress.tests.compress.artifacts import multiplications, run
from autocompress.tests.compress.tasks import tiny_task
from onnx import load
from torch import nn

SHARES = (0.75, 0.5)
FILE = FileFormat()
RECOVERY = Recovery(steps=4, learning_rate=1e-3, temperature=2.0, weight=0.5, features=0.1)


class Seen(nn.Module):
    """Convolutions, then what `end` makes of 3 × 12 × 8 pixels' features (8 × 6 × 4)."""

    def __init__(self, end):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8)
        self.second, self.fc, self.end = nn.Conv2d(8, 8, 3, 1, 1), nn.Linear(8, 5), end

    def features(self, x):
        return self.second(self.norm(self.conv(x)).relu()).relu()

    def forward(self, x):
        return self.end(self, self.features(x))


def pooled(model, x):
    return model.fc(F.avg_pool2d(x, x.shape[2:]).flatten(1))


def seen(end, shares=SHARES):
    torch.manual_seed(0)
    model = Seen(end).eval()
    with torch.no_grad():
        model.norm.weight.mul_(0.3)
    return model, Network.trace(model, (torch.randn(2, 3, 12, 8),), resolutions=shares)


def reasons(network):
    return {one.name: one.reason for one in network.excluded if "images" in one.name}


def test_the_network_on_smaller_images_is_the_model_behind_a_resize():
    model, network = seen(pooled)
    x = torch.randn(3, 3, 12, 8)
    assert network.resolutions == ((9, 6), (6, 4))
    for size in network.resolutions:
        small = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        features = model.features(small)
        expected = model.fc(features.mean((2, 3)))  # the window of 6 × 4 became the smaller plane
        assert torch.allclose(network.at(size).module(x), expected, atol=1e-5)


def test_the_cost_counts_the_pixels_that_are_left():
    _, network = seen(pooled)
    whole, half = (network.cost(Recipe(resolution=size)) for size in (None, (6, 4)))
    convolutions = 3 * 8 * 9 + 8 * 8 * 9
    assert whole.macs == 24 * convolutions + 40
    assert half.macs == 6 * convolutions + 40
    assert half.parameters == whole.parameters


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (
            lambda m, x: F.linear(x.flatten(1), m.fc.weight.repeat(1, 24)),
            "linear .* does not take the smaller",
        ),
        (lambda m, x: x, "the answers of relu .* would be 8 × 5 × 3, not 8 × 6 × 4"),
        (lambda m, x: m.fc(x.sum((2, 3)) / 24), "sum .* adds up pixels"),
    ],
)
def test_what_counts_pixels_is_refused_with_a_reason(end, reason):
    _, network = seen(end, shares=(0.75,))
    assert network.resolutions == ()
    (told,) = reasons(network).values()
    assert re.search(reason, told), told


def test_only_images_can_be_smaller_and_only_smaller():
    network = Network.trace(nn.Linear(4, 3), (torch.randn(2, 4),), resolutions=SHARES)
    assert reasons(network) == {
        "smaller images": "the model's only input must be images, N × channels × height × width"
    }
    _, network = seen(pooled, shares=((12, 8), (30, 4), 0.5))
    assert network.resolutions == ((6, 4),)
    assert list(reasons(network)) == ["images of 12 × 8", "images of 30 × 4"]


def halves(name, form=FILE):
    task = replace(tiny_task(name), resolutions=SHARES)
    network = Network.trace(task.model, task.example_inputs, resolutions=task.resolutions)
    assert len(network.resolutions) == 2
    return Compressor(task, network, CompressorOptions(formats=(form,)))


def recipes(network) -> list[Recipe]:
    """Smaller images alone, in int8, without half of the channels, trained."""
    size = network.resolutions[1]
    int8: dict[str, Precision] = {layer.name: "int8" for layer in network.layers if not layer.float_only}
    keep = {group.name: group.channels // 2 for group in network.groups}
    return [
        Recipe(resolution=size),
        Recipe(resolution=size, precision=int8),
        Recipe(resolution=size, keep=keep),
        Recipe(resolution=size, precision=int8, recovery=RECOVERY),
    ]


@pytest.mark.parametrize("name", ["residual", "depthwise"])
def test_the_file_takes_whole_images_and_answers_like_torch(name, tmp_path):
    compressor = halves(name)
    example = compressor.task.inputs[0]
    for recipe in recipes(compressor.network):
        built = compressor.build(recipe, tmp_path).only
        assert built.check.inputs[0].shape[1:] == example.shape[1:]
        check_outputs(run(built.artifact.path, built.check.inputs), built.check)
        model = load(built.artifact.path)
        kinds = [node.op_type for node in model.graph.node]
        assert (kinds.count("Resize"), kinds.count("Shape")) == (1, 0)
    built = compressor.build(Recipe(resolution=compressor.network.resolutions[0]), tmp_path).only
    assert multiplications(load(built.artifact.path)) == built.artifact.macs


def test_litert_resizes_as_torch_does(tmp_path):
    pytest.importorskip("ai_edge_litert", reason="pip install ai-edge-litert")
    interpreter_of = importlib.import_module("ai_edge_litert.interpreter").Interpreter
    litert = FileFormat(container="tflite", activations=load_profile("cpu-litert").activations)
    compressor = halves("residual", litert)
    for size in compressor.network.resolutions:
        built = compressor.build(Recipe(resolution=size), tmp_path).only
        interpreter = interpreter_of(str(built.artifact.path))
        inputs = built.check.inputs[0]
        interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], inputs.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], inputs)
        interpreter.invoke()
        answers = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        check_outputs([answers], built.check)


def test_normalizations_have_the_statistics_of_smaller_images():
    compressor = halves("residual")
    size = compressor.network.resolutions[1]
    small = compressor.students.at(size)
    reference, batch = compressor.network, compressor.students.samples.augmented("other", 256)[0]
    seen = {}
    for name, module in (("whole", reference.module), ("small", small.network.module)):
        (moments,) = moments_of(module, [batch], mixed=False)
        means = {node.name: node.args[3].target for node in module.graph.nodes if "batch_norm" in node.name}
        seen[name] = {
            norm: moments[norm][0] - dict(module.named_buffers())[target] for norm, target in means.items()
        }
    for norm, shift in seen["whole"].items():  # as far from its own statistics as the original is
        assert torch.allclose(seen["small"][norm], shift, atol=0.1)


def test_the_probe_compares_with_the_original_on_whole_images():
    compressor = halves("residual")
    whole, half = (Recipe(resolution=size) for size in (None, compressor.network.resolutions[1]))
    assert compressor.probe.kl(whole) == pytest.approx(0.0, abs=1e-6)
    block = Recipe(skip=(compressor.network.blocks[0].name,))
    told = {recipe.resolution: kl for recipe, kl in compressor.probe.sensitivities([half, block])}
    assert told[half.resolution] == compressor.probe.kl(half) > 0


def test_a_task_with_other_resolutions_is_refused():
    for wrong in ((1.5,), [0.5], ((8,),), (0,)):
        with pytest.raises(TaskError, match=r"resolutions must be a tuple of shares between 0 and 1"):
            check_task(replace(tiny_task("residual"), resolutions=wrong))
