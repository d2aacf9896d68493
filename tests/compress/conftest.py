"""Compressors of the tiny models, made once for all tests of this folder, their exports once for all processes:
exporting takes seconds.
"""

import os

import pytest
from autocompress.compress import Compressor, Network
from autocompress.compress.options import CompressorOptions, FileFormat
from autocompress.profiles import load_profile
from autocompress.tests.compress.tasks import tiny_task


@pytest.fixture(scope="session")
def exports(tmp_path_factory):
    """The folder of what was exported, which the processes of pytest-xdist share."""
    mine = tmp_path_factory.getbasetemp()
    folder = (mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine) / "exports"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def compressors(exports):
    """A function from a tiny model's name to its compressor."""
    return made_once(CompressorOptions(), exports)


@pytest.fixture(scope="session")
def symmetric():
    """TensorRT's format: that of the profiles for GPUs."""
    profile = load_profile("gpu-rtx")
    return FileFormat(opset=profile.opset, activations=profile.activations)


@pytest.fixture(scope="session")
def compressors_of_both(symmetric, exports):
    """A function from a tiny model's name to a compressor for the formats of ONNX Runtime and TensorRT."""
    return made_once(CompressorOptions(formats=(FileFormat(), symmetric)), exports)


def made_once(options, exports):
    made = {}

    def compressor(name):
        if name not in made:
            task = tiny_task(name)
            network = Network.trace(task.model, task.example_inputs)
            made[name] = Compressor(task, network, options, cache_dir=exports)
        return made[name]

    return compressor
