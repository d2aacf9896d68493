"""Builds a model of any kind: the original, int8 and pruned files must answer like torch."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from autocompress.compress import Compressor, Network, Recipe, check_outputs
from autocompress.compress.onnx_file.check import relative_error
from autocompress.tasks.task import Metric, Task
from autocompress.tests.compress.artifacts import run
from torch import Tensor, nn


def first(outputs: Any) -> Any:
    """The first of several outputs."""
    return outputs[0] if isinstance(outputs, tuple) else outputs


def kind_task(model: nn.Module, inputs: tuple[Tensor, ...]) -> Task:
    """A task whose splits are the samples of `inputs`; its loss and metric are of no importance."""
    splits = [[(tuple(x[i] for x in inputs), i % 2) for i in range(len(inputs[0]))] for _ in range(3)]
    return Task(
        name="kind", model=model, train=splits[0], validation=splits[1], test=splits[2],  # type: ignore[arg-type]
        loss=lambda outputs, _: first(outputs).float().square().mean(),
        metric=Metric(name="m", function=lambda outputs, _: float(first(outputs).float().mean()), unit=""),
        example_inputs=tuple(x[:2] for x in inputs),
    )  # fmt: skip


def assert_builds_answer_like_torch(
    make: Callable[[], nn.Module], *inputs: Tensor, folder: Path
) -> tuple[Network, Mapping[str, int]]:
    """Builds the original, all layers in int8, and (where a group exists) half of every group.

    Returns the network, and the bytes of the files.
    """
    torch.manual_seed(0)
    model = make().eval()
    network = Network.trace(model, tuple(x[:2] for x in inputs))
    compressor = Compressor(kind_task(model, inputs), network)
    int8 = Recipe(precision={layer.name: "int8" for layer in network.layers if not layer.float_only})
    recipes = {"original": Recipe(), "int8": int8}
    if network.groups:
        recipes["half"] = Recipe(keep={group.name: group.channels // 2 for group in network.groups})
    sizes = {}
    for name, recipe in recipes.items():
        built = compressor.build(recipe, folder).only
        answers = run(str(built.artifact.path), built.check.inputs)
        check_outputs(answers, built.check)
        if name == "original":
            with torch.no_grad():
                expected = model(*(torch.from_numpy(x) for x in built.check.inputs))
            outputs = expected if isinstance(expected, tuple) else (expected,)
            for answer, output in zip(answers, outputs, strict=True):
                assert relative_error(answer, output.detach().numpy()) < 1e-4
        sizes[name] = built.artifact.size_bytes
    return network, sizes
