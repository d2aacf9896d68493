"""The outputs that a file should give are computed with all its roundings, those of biases too."""

import torch
from autocompress.compress import Compressor, CompressorOptions, Network, Recipe
from autocompress.compress.onnx_file.check import relative_error
from autocompress.tests.compress.artifacts import run
from autocompress.tests.compress.kinds import kind_task
from torch import nn


def narrow(layers: int) -> nn.Module:
    """N × 2 × 6 × 6 to N × 4, with large biases: a step of a bias of 4 bits is large, too."""
    torch.manual_seed(1)
    convolutions = [nn.Conv2d(2 if index == 0 else 4, 4, 1) for index in range(layers)]
    for layer in convolutions:
        nn.init.normal_(layer.bias, std=2.0)  # type: ignore[arg-type]
    steps = [step for layer in convolutions for step in (layer, nn.ReLU6())]
    return nn.Sequential(*steps, nn.Flatten(), nn.Linear(4 * 36, 4)).eval()


def test_a_narrow_deep_network_in_4_bits_answers_as_its_file(tmp_path):
    model, inputs = narrow(8), (torch.randn(32, 2, 6, 6),)
    network = Network.trace(model, inputs)
    options = CompressorOptions(database_samples=16, refit_samples=0, calibration_samples=32)
    recipe = Recipe(precision={layer.name: "int4" for layer in network.layers})
    built = Compressor(kind_task(model, inputs), network, options).build(recipe, tmp_path).only
    (answer,) = run(str(built.artifact.path), built.check.inputs, plain=True)
    assert relative_error(answer, built.check.expected[0]) < 1e-5
