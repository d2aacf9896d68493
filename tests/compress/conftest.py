"""Compressors of the tiny models, made once for all tests of this folder: exporting takes seconds."""

import pytest
from autocompress.compress import Compressor, Network
from autocompress.compress.options import CompressorOptions, FileFormat
from autocompress.profiles import load_profile
from autocompress.tests.compress.tasks import tiny_task


@pytest.fixture(scope="session")
def compressors():
    """A function from a tiny model's name to its compressor."""
    return made_once(CompressorOptions())


@pytest.fixture(scope="session")
def symmetric():
    """TensorRT's format: that of the profiles for GPUs."""
    profile = load_profile("gpu-rtx")
    return FileFormat(opset=profile.opset, activations=profile.activations)


@pytest.fixture(scope="session")
def compressors_of_both(symmetric):
    """A function from a tiny model's name to a compressor for the formats of ONNX Runtime and TensorRT."""
    return made_once(CompressorOptions(formats=(FileFormat(), symmetric)))


def made_once(options):
    made = {}

    def compressor(name):
        if name not in made:
            task = tiny_task(name)
            made[name] = Compressor(task, Network.trace(task.model, task.example_inputs), options)
        return made[name]

    return compressor
