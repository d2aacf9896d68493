"""Compressors of the tiny models, made once for all tests of this folder: tracing and exporting take seconds."""

import pytest
from autocompress.compress import Compressor, Network
from autocompress.tests.compress.tasks import tiny_task


@pytest.fixture(scope="session")
def compressors():
    """A function from a tiny model's name to its compressor."""
    made = {}

    def compressor(name):
        if name not in made:
            task = tiny_task(name)
            made[name] = Compressor(task, Network.trace(task.model, task.example_inputs))
        return made[name]

    return compressor
