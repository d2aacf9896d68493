"""Sparsity 2:4: which weights go, how the others make up for them, and that training keeps the zeros."""

import pytest
import torch
from autocompress.compress import Compressor, Network, Recipe
from autocompress.compress.graph.graph import get_tensor, layer_nodes, weight_nodes
from autocompress.compress.graph.tracing.trace import trace
from autocompress.compress.levels.reconstruct import output_error
from autocompress.compress.levels.sparse import (
    is_sparse,
    sparse_refusal,
    sparse_weight,
    sparsify,
    sparsify_rest,
)
from autocompress.compress.student.training.fake_quantize import GridWeights
from autocompress.tests.compress.tasks import tiny_task
from autocompress.tests.models import tiny_model

ROWS, CHANNELS, TAPS = 6, 8, 9


@pytest.fixture
def layer():
    """A convolution's weight (6 × 8 × 3 × 3) and the second moments of correlated inputs."""
    generator = torch.Generator().manual_seed(0)
    columns = CHANNELS * TAPS
    x = torch.randn(4000, columns, generator=generator) @ torch.randn(columns, columns, generator=generator)
    return torch.randn(ROWS, CHANNELS, 3, 3, generator=generator), (x.T @ x / 4000).unsqueeze(0)


def two_largest(weight):
    fours = weight.reshape(ROWS, CHANNELS // 4, 4, TAPS)
    largest = fours.abs().argsort(2).argsort(2) >= 2
    return (fours * largest).reshape(weight.shape)


def test_without_statistics_the_two_largest_of_four_stay(layer):
    weight, _ = layer
    torch.testing.assert_close(
        sparse_weight(weight, torch.eye(CHANNELS * TAPS).unsqueeze(0)), two_largest(weight)
    )


def test_with_statistics_the_output_error_is_much_smaller(layer):
    weight, second = layer
    sparse = sparse_weight(weight, second)
    assert is_sparse(sparse)
    errors = [
        output_error((weight - other).reshape(1, ROWS, -1), second) for other in (sparse, two_largest(weight))
    ]
    assert errors[0] < 0.6 * errors[1]


def test_groups_of_a_convolution_are_sparse_each_by_itself(layer):
    weight, second = layer
    both = torch.cat([second, 2 * second])
    sparse = sparsify(weight.reshape(2, ROWS // 2, -1), both, TAPS)
    assert is_sparse(sparse.reshape(weight.shape))
    torch.testing.assert_close(sparse[0], sparsify(weight.reshape(2, ROWS // 2, -1)[:1], second, TAPS)[0])


def test_three_of_four_is_not_sparse():
    assert not is_sparse(torch.tensor([[1.0, 1.0, 1.0, 0.0]])) and is_sparse(
        torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    )


def test_a_layer_tells_why_it_cannot_be_sparse(compressors):
    layers = {layer.name: layer for layer in compressors("residual").network.layers}
    assert sparse_refusal(layers["body.0.0"]) == ""
    assert "reads 3" in sparse_refusal(layers["stem.0"]) and "reads 6" in sparse_refusal(
        layers["body.0.0"], 6
    )
    recurrent = next(layer for layer in compressors("gru").network.layers if layer.kind == "recurrent")
    assert sparse_refusal(recurrent) == recurrent.float_only


def test_a_weight_that_is_sparse_already_stays(compressors):
    row = tiny_model("residual")
    module = trace(row.build(), row.example_inputs())
    sparsify_rest(module, ["body.0.0"])
    before = get_tensor(module, "body.0.0.weight").clone()
    assert is_sparse(before)
    sparsify_rest(module, ["body.0.0"])
    assert torch.equal(get_tensor(module, "body.0.0.weight"), before)


def test_the_database_has_the_sparse_level_and_its_error():
    task = tiny_task("residual")  # a database of its own: nobody has asked for the level
    database = Compressor(task, Network.trace(task.model, task.example_inputs)).students.database
    assert database.known_error("body.1.0", None, sparse=True) is None
    level = database.level("body.1.0", sparse=True)
    assert 0 < level.error < 0.5 and database.known_error("body.1.0", None, sparse=True) == level.error
    assert level.error > database.level("body.1.0", bits=4).error


@pytest.mark.parametrize("method", ["make", "stitched"])
def test_a_student_is_sparse_where_it_was_asked(compressors, method):
    from autocompress.compress.stages import StageClock

    students = compressors("residual").students
    recipe = Recipe(keep={"stem.0": 8}, precision={"body.0.0": "int8_24", "head.linear": "float16_24"})
    student = (
        students.stitched(recipe)
        if method == "stitched"
        else students.make(recipe, StageClock(), lambda _: None, None)
    )
    sparse = {
        name: is_sparse(get_tensor(student.module, str(weight_nodes(node)[0].target)))
        for name, node in layer_nodes(student.module)
    }
    assert sparse == {"stem.0": False, "body.0.0": True, "body.1.0": False, "head.linear": True}


def test_training_keeps_the_zeros_and_gives_them_no_gradient():
    row = tiny_model("residual")
    module = trace(row.build(), row.example_inputs())
    sparsify_rest(module, ["body.0.0"])
    grid = GridWeights(module, {}, {}, {"body.0.0": "int8_24"})
    parameter = get_tensor(module, "body.0.0.weight")
    zeros = parameter == 0
    grid.rounded(module)["body.0.0.weight"].sum().backward()
    assert parameter.grad is not None
    assert zeros.any() and torch.equal(parameter.grad.eq(0), zeros)
    with torch.no_grad():
        parameter.add_(1.0)  # what an optimizer's momentum might do
    grid.settle(module)
    assert torch.equal(get_tensor(module, "body.0.0.weight") == 0, zeros)
