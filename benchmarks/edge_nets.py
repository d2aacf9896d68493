"""The keyword spotter, the MobileNet and the language model of the test material, as tasks.

    autocompress search benchmarks/edge_nets.py:stories --task-arg data=../shared/data --budget 20m --max-drop 1pp

`data` is a folder with `nets.py` (models, splits), the weights and the samples. Their networks were not used
to develop the search on: hypervolumes of their fronts are what a new network may expect.
"""

import importlib.util
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from autocompress.tasks import Metric, Task, accuracy
from torch import Tensor


def keywords(data: Path, seed: int = 0) -> Task:
    """DS-CNN on 12 keywords: N × 1 × 49 × 10 to N × 12."""
    return _task(
        "dscnn_kws", data, seed, loss=F.cross_entropy, metric=Metric(name="top-1", function=accuracy)
    )


def mobilenet(data: Path, seed: int = 0) -> Task:
    """MobileNetV1-0.25 on 10 of ImageNet's 1,000 classes."""
    task = _task(
        "mobilenet_025", data, seed, loss=F.cross_entropy, metric=Metric(name="top-1", function=accuracy)
    )
    return replace(task, resolutions=(0.75, 0.5))


def stories(data: Path, seed: int = 0) -> Task:
    """A Llama-style language model of 260,032 parameters: N × 256 tokens to N × 256 × 512."""
    return _task("stories260k", data, seed, loss=of_tokens, metric=Metric(name="next token", function=right))


def of_tokens(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of N × T × V scores and N × T tokens."""
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())


def right(outputs: Tensor, targets: Tensor) -> float:
    """The share of next tokens that are right."""
    return float((torch.as_tensor(outputs).argmax(-1) == torch.as_tensor(targets)).float().mean())


def _task(name: str, data: Path, seed: int, *, loss, metric: Metric) -> Task:
    spec = importlib.util.spec_from_file_location("nets", data / "nets.py")
    assert spec is not None
    assert spec.loader is not None
    nets = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(nets)
    splits = nets.splits(name)
    inputs = torch.stack([splits["validation"][index][0] for index in range(2)])
    return Task(
        name=name,
        model=nets.load(name),
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        loss=loss,
        metric=metric,
        example_inputs=(inputs,),
        seed=seed,
    )
