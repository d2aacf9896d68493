"""Random mixtures of all levels: the probe runs them, and the file answers like torch.

`python benchmarks/zoo.py` does the same with the architectures of timm, torchvision and transformers.
"""

import pytest
import torch
from autocompress.compress import Compressor, Network, check_outputs
from autocompress.tasks.plain.plain_task import plain_task
from autocompress.tests.compress.artifacts import run
from autocompress.tests.compress.kinds import kind_task
from autocompress.tests.compress.onnx_file.test_export import Attentions, CalledTwice
from autocompress.tests.compress.random_recipes import random_recipes
from autocompress.tests.compress.tasks import tiny_task

KINDS = {"attentions": (Attentions, (5, 6)), "called twice": (CalledTwice, (5, 16))}
TINY = ("attention", "encoder", "decoder", "inverted_residual", "residual_projection", "squeeze_excite")


def task_of(name):
    if name in TINY:
        return tiny_task(name)
    make, shape = KINDS[name]
    torch.manual_seed(0)
    return plain_task(kind_task(make().eval(), (torch.randn(32, *shape),)))


@pytest.mark.parametrize("name", [*KINDS, *TINY])
def test_mixtures_answer_like_torch(name, tmp_path):
    task = task_of(name)
    compressor = Compressor(task, Network.trace(task.model, task.example_inputs))
    recipes = list(random_recipes(compressor.network, 4, seed=name))
    assert len({recipe.digest for recipe in recipes}) > 1
    for recipe in recipes:
        assert compressor.probe.kl(recipe) >= 0
        built = compressor.build(recipe, tmp_path).only
        check_outputs(run(built.artifact.path, built.check.inputs), built.check)
