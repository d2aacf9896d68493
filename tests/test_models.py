"""The table of tiny models holds what it says."""

import pytest
import torch
from autocompress.tests.models import TINY_MODELS, TinyModel, tiny_model
from torch import nn

each_model = pytest.mark.parametrize("row", TINY_MODELS, ids=lambda row: row.name)

WITHOUT_MODULES = ("gpt", "products")  # they multiply with parameters that no module of torch holds


def counted_macs(row: TinyModel) -> int:
    """Products with each weight matrix or kernel, seen by hooks on one forward pass."""
    total = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.GRU | nn.LSTM):
            total += inputs[0].shape[1] * sum(
                parameter.numel() for parameter in module.parameters() if parameter.dim() == 2
            )
        else:
            positions = inputs[0] if isinstance(module, nn.ConvTranspose2d) else output
            total += positions[0].numel() * module.get_parameter("weight")[0].numel()

    model = row.build()
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.GRU | nn.LSTM):
            module.register_forward_hook(count)
    model(*row.example_inputs())
    return total


@pytest.mark.parametrize(
    "row", [row for row in TINY_MODELS if row.name not in WITHOUT_MODULES], ids=lambda row: row.name
)
def test_hand_computed_macs_equal_those_counted_by_hooks(row: TinyModel) -> None:
    assert counted_macs(row) == row.macs


@each_model
def test_hand_computed_parameters_equal_those_of_the_model(row: TinyModel) -> None:
    assert sum(parameter.numel() for parameter in row.build().parameters()) == row.parameters


@each_model
def test_a_model_is_deterministic_and_answers_in_eval_mode(row: TinyModel) -> None:
    first, second = (row.build()(*row.example_inputs()) for _ in range(2))
    assert torch.equal(first, second) and first.shape == (2, 10) and first.std() > 1e-3


def test_names_are_unique_and_found() -> None:
    assert len({row.name for row in TINY_MODELS}) == len(TINY_MODELS)
    assert tiny_model("depthwise").name == "depthwise"
