"""Low rank: which ranks are offered, what the factors approximate, and that the built artifact says the same
as torch.
"""

import itertools
from dataclasses import replace
from functools import partial

import numpy as np
import onnx
import pytest
import torch
from autocompress.compress import Compressor, Layer, Network, Recipe, Recovery, check_outputs
from autocompress.compress.graph.factors import factor_name, rank_levels, saves
from autocompress.compress.graph.graph import fold_batch_norms, layer_nodes
from autocompress.compress.graph.tracing.trace import trace
from autocompress.compress.levels.database import LevelDatabase
from autocompress.compress.student.low_rank import factorize, kept_factors, low_rank_factors
from autocompress.errors import StageError
from autocompress.tests.compress.artifacts import multiplications, run, weights_and_biases
from autocompress.tests.compress.tasks import RandomInputs, tiny_task
from autocompress.tests.models import tiny_model
from torch import nn

RECOVERY = Recovery(steps=3, learning_rate=1e-3, temperature=2.0, weight=0.5)


def layer(rows, columns, *, kernel=(), groups=1, uses=1):
    return Layer(
        name="l",
        kind="conv" if kernel else "linear",
        weight="l.weight",
        bias=None,
        weight_shape=(rows, columns // groups, *kernel),
        channels_in=columns,
        channels_out=rows,
        macs=0,
        parameters=0,
        uses=uses,
    )


def pointwise():
    """Two 1×1 convolutions, the second with a stride, between a stem and a head; batch normalization behind
    each.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = [
            nn.Conv2d(3, 32, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        ]
        parts += [
            nn.Conv2d(64, 48, 1, 2),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(48, 10),
        ]
        return nn.Sequential(*parts).eval()


def pointwise_task():
    task, model = tiny_task("chain"), pointwise()
    splits = {
        name: RandomInputs(model, task.example_inputs, 64, seed)
        for seed, name in enumerate(("train", "validation", "test"))
    }
    return replace(task, model=model, **splits)


@pytest.mark.parametrize(
    ("layer", "ranks"),
    [
        (layer(64, 64), (8, 16, 24)),
        (layer(96, 32), (8, 16)),
        (layer(768, 3072), (152, 304, 464)),
        (layer(64, 128, kernel=(1, 1)), (8, 24, 32)),
        (layer(64, 64, kernel=(3, 3)), ()),
        (layer(64, 64, kernel=(1, 1), groups=2), ()),
        (layer(64, 64, uses=2), ()),
        (layer(10, 64), ()),
        (layer(32, 32), (8,)),
    ],
    ids=["square", "wide", "transformer", "pointwise", "3x3", "grouped", "shared", "small", "smallest"],
)
def test_ranks_are_multiples_of_8_that_save_multiplications(layer, ranks):
    assert rank_levels(layer) == ranks
    assert all(saves(rank, layer.channels_out, layer.channels_in) for rank in ranks)


def correlated(count, size, seed):
    """Inputs that fill a few directions more than the others, and are not centred."""
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(size, size)) * np.geomspace(1, 0.01, size)
    return torch.from_numpy(random.normal(size=(count, size)) @ mixing.T + 0.5).float()


def test_factors_of_full_rank_reproduce_the_weight():
    x, weight = correlated(500, 40, 0), torch.randn(24, 40, generator=torch.Generator().manual_seed(0))
    for moment in (None, x.T @ x / len(x)):
        up, down = low_rank_factors(weight, 24, moment)
        torch.testing.assert_close(up @ down, weight, atol=1e-4, rtol=1e-4)


def test_the_plain_factors_are_numpys_truncated_svd():
    weight = torch.randn(24, 40, generator=torch.Generator().manual_seed(0))
    u, sizes, right = np.linalg.svd(weight.numpy().astype(np.float64), full_matrices=False)
    up, down = low_rank_factors(weight, 6)
    np.testing.assert_allclose((up @ down).numpy(), u[:, :6] * sizes[:6] @ right[:6], atol=1e-5)


def test_factors_that_know_the_inputs_have_the_smaller_output_error():
    x, weight = correlated(2000, 40, 0), torch.randn(32, 40, generator=torch.Generator().manual_seed(1))
    fresh = correlated(2000, 40, 0)[:1000] * 1.1
    errors = {}
    for name, moment in (("plain", None), ("aware", x.T @ x / len(x))):
        up, down = low_rank_factors(weight, 8, moment)
        errors[name] = float(((fresh @ weight.T) - fresh @ down.T @ up.T).square().mean())
    assert errors["aware"] < 0.3 * errors["plain"]


def test_no_other_rank_8_weight_answers_better_on_the_inputs():
    """Reduced-rank regression in NumPy: the best is the projection of the outputs on their leading
    directions.
    """
    x, weight = correlated(2000, 40, 0), torch.randn(32, 40, generator=torch.Generator().manual_seed(1))
    y = (x @ weight.T).double().numpy()
    leading = np.linalg.svd(y, full_matrices=False)[2][:8]
    best = np.square(y - y @ leading.T @ leading).mean()
    up, down = low_rank_factors(weight, 8, x.T @ x / len(x))
    assert np.square(y - (x @ down.T @ up.T).double().numpy()).mean() < 1.01 * best + 1e-6


def test_factors_are_computed_once_for_all_ranks_and_kept(compressors, tmp_path, monkeypatch):
    network = compressors("pointwise").network
    batches = [network.example_inputs]
    matrix, moment = torch.randn(32, 40), correlated(200, 40, 0).T @ correlated(200, 40, 0)
    kept = partial(kept_factors, LevelDatabase(network, lambda: batches, directory=tmp_path))
    up, down = kept(matrix, 8, moment)
    monkeypatch.setattr(
        "autocompress.compress.student.low_rank.low_rank_factors", lambda *_: pytest.fail("computed again")
    )
    later = partial(kept_factors, LevelDatabase(network, lambda: batches, directory=tmp_path))
    for rank in (4, 8, 17):
        assert [factor.shape for factor in later(matrix, rank, moment)] == [(32, rank), (rank, 40)]
    assert all(map(torch.equal, later(matrix, 8, moment), (up, down)))
    monkeypatch.undo()
    for factor, expected in zip((up, down), low_rank_factors(matrix, 8, moment), strict=True):
        torch.testing.assert_close(factor, expected)
    assert not torch.allclose(later(matrix + 1, 8, moment)[0], up)
    assert not torch.allclose(later(matrix, 8, moment + torch.eye(40))[1], down)


def test_inputs_that_never_vary_are_no_division_by_zero():
    up, down = low_rank_factors(torch.randn(32, 40), 8, torch.zeros(40, 40))
    assert torch.isfinite(up).all() and torch.isfinite(down).all()


def test_normalization_stays_behind_the_second_factor_and_stride_on_the_first():
    module = trace(pointwise(), (torch.randn(2, 3, 8, 8),))
    x = torch.randn(4, 3, 8, 8)
    expected = module(x)
    assert factorize(module, {"2": 8, "5": 16}, {}) == ("2", "5")
    folded = fold_batch_norms(module)
    torch.testing.assert_close(folded(x), module(x), atol=1e-5, rtol=1e-4)
    nodes = dict(layer_nodes(folded))
    assert list(nodes) == ["0", "2.down", "2", "5.down", "5", "10"]
    assert nodes["5.down"].args[3] == [2, 2] and len(nodes["5"].args) == 3
    assert not torch.allclose(module(x), expected)


def test_a_rank_that_saves_nothing_leaves_the_layer_whole():
    module = trace(pointwise(), (torch.randn(2, 3, 8, 8),))
    assert factorize(module, {"2": 22}, {}) == ()
    assert "2.down.weight" not in module.state_dict()


def test_a_layer_that_is_not_there_is_a_failure():
    module = trace(pointwise(), (torch.randn(2, 3, 8, 8),))
    with pytest.raises(StageError, match="no such layer"):
        factorize(module, {"nowhere": 8}, {})


@pytest.fixture(scope="module")
def compressors():
    made = {}

    def compressor(name):
        if name not in made:
            task = pointwise_task() if name == "pointwise" else tiny_task(name)
            made[name] = Compressor(task, Network.trace(task.model, task.example_inputs))
        return made[name]

    return compressor


def lowest_ranks(network):
    return {layer.name: rank_levels(layer)[0] for layer in network.layers if rank_levels(layer)}


@pytest.mark.parametrize("name", ["pointwise", "attention", "flatten_linear"])
def test_the_factored_artifact_matches_torch_pruned_or_not_in_every_precision(
    name, compressors, tmp_path, monkeypatch
):
    network = compressors(name).network
    halves = {group.name: max(1, group.channels // 2) for group in network.groups}
    int8 = {layer.name: "int8" for layer in network.layers}
    compressors(name).build(Recipe(), tmp_path)
    monkeypatch.setattr(
        "autocompress.compress.onnx_file.templates.export_template", lambda *_: pytest.fail("exported again")
    )
    for keep, precision in itertools.product(({}, halves), ({}, int8)):
        result = (
            compressors(name)
            .build(Recipe(keep=keep, precision=precision, rank=lowest_ranks(network)), tmp_path)
            .only
        )
        check_outputs(run(result.artifact.path, result.check.inputs), result.check)


@pytest.mark.parametrize("name", ["pointwise", "attention", "flatten_linear"])
def test_the_predicted_cost_is_that_of_the_artifact(name, compressors, tmp_path):
    network = compressors(name).network
    recipe = Recipe(rank=lowest_ranks(network))
    model = onnx.load(compressors(name).build(recipe, tmp_path).only.artifact.path)
    cost = network.cost(recipe)
    assert recipe.rank and multiplications(model) == cost.macs < network.macs
    assert weights_and_biases(model) == sum(layer.parameters for layer in cost.layers)


def test_both_factors_have_the_precision_of_their_layer(compressors, tmp_path):
    result = compressors("pointwise").build(Recipe(rank={"5": 16}, precision={"5": "int8"}), tmp_path).only
    stored = onnx.load(result.artifact.path).graph.initializer
    int8 = {t.name for t in stored if t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1}
    assert int8 == {"5.weight_q", f"{factor_name('5')}.weight_q"}


def test_the_inputs_of_pruned_layers_are_those_of_the_kept_channels(compressors):
    compressor = compressors("pointwise")
    recipe = Recipe(keep={"0": 16}, rank={"2": 8})
    group = compressor.network.group_by_name["0"]
    removed = frozenset(unit.number for unit in group.units[::2])
    whole = compressor.students.structure.second_moments(recipe, frozenset())["2"]
    torch.testing.assert_close(
        compressor.students.structure.second_moments(recipe, removed)["2"], whole[1::2, 1::2]
    )


def test_depth_and_rank_go_together_and_recover(compressors, tmp_path):
    network = compressors("attention").network
    recipe = Recipe(skip=("qkv-proj",), rank=lowest_ranks(network), recovery=RECOVERY)
    result = compressors("attention").build(recipe, tmp_path).only
    check_outputs(run(result.artifact.path, result.check.inputs), result.check)
    assert multiplications(onnx.load(result.artifact.path)) == network.cost(recipe).macs


def test_tiny_models_without_wide_layers_have_no_ranks():
    row = tiny_model("residual")
    assert lowest_ranks(Network.trace(row.build(), row.example_inputs())) == {}
