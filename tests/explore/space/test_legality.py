"""Which levels a target allows, and why it rules out the others."""

from dataclasses import replace

import pytest
from autocompress.compress.graph.network import Network
from autocompress.compress.recipe import Precision, Recipe
from autocompress.explore.latency.features import boundary_features, kernel_class
from autocompress.explore.latency.model import LatencyPredictor, problem_of
from autocompress.explore.rungs.sensitivity import plan_changes
from autocompress.explore.space.joint_space import space_of
from autocompress.explore.space.legality import float32_reason, legal_precisions, ruled_out_levels
from autocompress.explore.space.seeds import first_recipes
from autocompress.explore.space.space import SearchSpace
from autocompress.profiles import load_profile, profile_names
from autocompress.profiles.latency_table import LatencyTable
from autocompress.tests.explore.fakes import FakeNetwork
from autocompress.tests.models import tiny_model
from optuna.trial import FixedTrial

CPU, JETSON, RTX = (load_profile(name) for name in ("cpu", "jetson", "gpu-rtx"))
LAYER = FakeNetwork().layers[1]  # a convolution of 16 channels
PACKED = ("int6", "int4", "int3", "int2")
STORED = ("w8", "w6", "w4", "w3", "w2")


@pytest.mark.parametrize(
    ("target", "levels"),
    [
        ("cpu", ("float32", "int8", *PACKED, *STORED)),
        ("cpu-openvino", ("float32", "int8", *PACKED, *STORED)),
        ("jetson", ("float32", "float16", "int8", "float16_24", "int8_24")),
        ("gpu-rtx", ("float32", "float16", "fp8", "int8", "float16_24", "int8_24")),
    ],
)
def test_a_convolution_has_the_levels_of_its_target(target, levels):
    assert legal_precisions(LAYER, load_profile(target)) == levels


def test_operators_without_kernels_of_a_precision_do_not_have_it():
    profile = replace(RTX, int8_operators=("Gemm",), fp8_operators=("Gemm",))
    assert legal_precisions(LAYER, profile) == ("float32", "float16", "float16_24")
    assert float32_reason(LAYER, profile) is None
    linear = replace(LAYER, kind="linear", weight_shape=(32, 16))
    assert legal_precisions(linear, profile) == legal_precisions(LAYER, RTX)


def test_a_layer_whose_channels_make_no_groups_of_four_is_not_sparse():
    first, depthwise = (replace(LAYER, weight_shape=shape) for shape in ((16, 3, 3, 3), (16, 1, 3, 3)))
    for layer in (first, depthwise):
        assert legal_precisions(layer, JETSON) == ("float32", "float16", "int8")


def test_a_layer_that_is_called_twice_has_all_levels_but_where_the_runtime_refuses_its_file():
    shared = replace(LAYER, uses=2)
    for profile in (CPU, JETSON, RTX):
        assert legal_precisions(shared, profile) == legal_precisions(LAYER, profile)
    exact = load_profile("cpu-avx2")
    assert legal_precisions(shared, exact) == ("float32", *STORED)
    without = replace(exact, float_storage_bits=())
    assert "called 2 times" in (float32_reason(shared, without) or "")
    linear = replace(shared, kind="linear", weight_shape=(32, 64))
    assert "dynamic8" in legal_precisions(linear, CPU)
    assert "dynamic8" in legal_precisions(replace(linear, uses=1), exact)
    assert "dynamic8" not in legal_precisions(linear, exact)


def test_a_layer_that_nothing_can_compress_has_its_own_reason_on_every_target():
    layer = replace(LAYER, float_only="it reads a constant", unstorable="it reads a constant")
    assert {legal_precisions(layer, profile) for profile in (CPU, JETSON)} == {("float32",)}
    assert float32_reason(layer, JETSON) == layer.float_only


def test_a_layer_that_computes_in_float32_may_store_fewer_bits_where_the_runtime_expands_them_once():
    recurrent = replace(LAYER, kind="recurrent", float_only="it computes in float32")
    assert legal_precisions(recurrent, CPU) == ("float32", *STORED)
    assert float32_reason(recurrent, CPU) is None
    assert legal_precisions(recurrent, JETSON) == ("float32",)
    assert float32_reason(recurrent, JETSON) == recurrent.float_only


def test_every_level_is_legal_on_a_target_or_ruled_out_with_a_reason():
    linear = replace(LAYER, kind="linear", weight_shape=(32, 64))
    every = {"float16", "fp8", "int8", "float16_24", "int8_24", *PACKED, "dynamic8", "block4", *STORED}
    for name in profile_names():
        profile = load_profile(name)
        out = {level for found in ruled_out_levels(profile) for level in found.levels}
        assert out | set(legal_precisions(linear, profile)) == every | {"float32"}
        assert out.isdisjoint(legal_precisions(linear, profile))


@pytest.mark.parametrize(
    ("target", "levels", "reason"),
    [
        ("cpu", ("float16", "fp8"), "ONNX Runtime computes in float32 and int8 only"),
        ("cpu", ("float16_24", "int8_24"), "target 'cpu' has no kernels for 2:4 sparse weights"),
        ("jetson", ("fp8",), "target 'jetson' has no fp8 tensor cores"),
        ("jetson", PACKED, "TensorRT does not expand packed weights"),
        ("jetson", ("dynamic8",), "target 'jetson' takes the ranges of int8 from the file"),
        ("jetson", ("block4",), "target 'jetson' has no kernel for layers with 4-bit weights"),
    ],
)
def test_the_reason_says_what_the_target_lacks(target, levels, reason):
    assert (levels, reason) in [
        (found.levels, found.reason) for found in ruled_out_levels(load_profile(target))
    ]


def test_what_a_profile_leaves_out_itself_is_told_as_such():
    profile = replace(CPU, name="edge", storage_bits=(4,), int8_operators=("Conv",))
    told = {found.levels: found.reason for found in ruled_out_levels(profile)}
    assert told["int6", "int3", "int2"] == "the profile of target 'edge' leaves them out"
    assert told["int8",] == "not for linear layers, which run in float32 there"


def test_a_cpu_and_a_gpu_have_int8_in_common():
    space = space_of(FakeNetwork(), [CPU, JETSON])
    assert set(space.precisions["layer1"]) == {"float32", "int8"}
    assert {level for group in space.groups for level in group.levels} <= {16, 32}


def gpu_space(profile=RTX, name="residual"):
    model = tiny_model(name)
    network = Network.trace(model.build(), model.example_inputs())
    return network, SearchSpace.of(network, replace(profile, channel_multiple=4))


def test_first_recipes_on_a_gpu_are_uniform_in_each_of_its_precisions():
    _, space = gpu_space()
    recipes = first_recipes(space)
    assert [set(recipe.precision.values()) for recipe in recipes[1:4]] == [{"int8"}, {"float16"}, {"fp8"}]
    assert set(recipes[4].precision.values()) == {"int8_24"}
    assert all(space.suggest(FixedTrial(space.parameters(recipe))) == recipe for recipe in recipes)


def test_the_sensitivity_of_dense_and_of_sparse_weights_is_measured():
    _, space = gpu_space(JETSON)
    asked = {found for recipe in plan_changes(space) for found in recipe.precision.values()}
    assert asked == {"int8", "int8_24"}


def test_latency_terms_say_the_same_as_the_predictor_for_every_mix_of_precisions():
    network, space = gpu_space()
    predictor = LatencyPredictor(network, space, LatencyTable())
    recipes = first_recipes(space)
    for recipe, ratio in zip(recipes, (1.0, 0.4, 0.6, 0.45, 0.35), strict=False):
        predictor.learn(recipe, ratio, 0.005)
    problem = problem_of((predictor,))
    names = list(space.precisions)
    choices: tuple[Precision, ...] = ("float32", "float16", "fp8", "int8", "int8_24")
    for shift in range(5):
        wanted = {name: choices[(at + shift) % 5] for at, name in enumerate(names)}
        mixed = Recipe(
            precision={name: found for name, found in wanted.items() if found in space.precisions[name][1:]}
        )
        levels = problem.levels_of(space.parameters(mixed))
        assert problem.latency(levels) == pytest.approx(predictor.ratio(mixed))
        assert problem.size(levels) == pytest.approx(
            network.cost(mixed).weight_bytes / network.cost(Recipe()).weight_bytes
        )
    assert predictor.ratio(space.uniform("float16")) == pytest.approx(0.6, rel=0.1)
    assert predictor.ratio(space.uniform("int8_24")) < predictor.ratio(space.uniform("int8"))


@pytest.mark.parametrize(
    ("before", "after", "first", "kernels"),
    [
        ("float32", "float32", None, {}),
        ("float32", "int8", None, {"quantize": 1}),
        ("int8", "float32", None, {"dequantize": 1}),
        ("float16", "int8", None, {"float16 to int8": 1}),
        ("int8", "int8", "int8", {"int8 sum": 1}),
        ("float16", "float16", "float16", {"float16 sum": 1}),
        ("float32", "float32", "float32", {"fused sum": 1}),
        ("float32", "int8", "int8", {"fused sum": 1, "dequantize": 1, "quantize": 1}),
        ("int8", "float32", "int8", {"float32 sum": 1, "dequantize": 2}),
        ("fp8", "fp8", "int8", {"float32 sum": 1, "fp8 to float32": 1, "dequantize": 1, "float32 to fp8": 1}),
    ],
)
def test_tensors_are_converted_where_classes_meet(before, after, first, kernels):
    found = boundary_features(before, after, first, 2.0)
    assert {
        name.removesuffix(" kernel"): count for name, count in found.items() if name.endswith("kernel")
    } == kernels
    assert all(found[f"{name} elements"] == 2.0 * count for name, count in kernels.items())


def test_sparse_weights_have_kernels_of_their_own_and_packed_ones_have_not():
    assert [kernel_class(name) for name in ("int8_24", "float16_24", "int4", "block4")] == [
        "int8_24",
        "float16_24",
        "int8",
        "block4",
    ]


def test_where_int8_is_stored_in_float32_the_smallest_file_is_one_of_float16():
    model = tiny_model("chain")
    eight = replace(JETSON, opset=17, int8_weights="float32")
    network = Network.trace(model.build(), model.example_inputs()).stored_as("float32")
    space = SearchSpace.of(network, eight)
    smallest = replace(space.smallest(), precision=dict.fromkeys(space.precisions, "float16"))
    assert (
        space.smallest_bytes(network)
        <= network.cost(smallest).weight_bytes
        < network.cost(space.smallest()).weight_bytes
    )


def test_fusing_is_a_level_where_a_target_has_the_kernels_and_the_model_the_operations():
    row = tiny_model("decoder")
    network = Network.trace(row.build(), row.example_inputs())
    space = SearchSpace.of(network, CPU)
    fused = space.with_free_levels(Recipe())
    assert fused == space.suggest(FixedTrial(space.parameters(fused))) == Recipe(fused=True)
    assert first_recipes(space)[0] == Recipe()
    assert all(recipe.fused for recipe in first_recipes(space)[2:])
    openvino = load_profile("cpu-openvino")
    assert not SearchSpace.of(network, openvino).fusable
    assert space_of(network, [CPU, openvino]).fusable  # the other target's file stays as it is
    assert not SearchSpace.of(FakeNetwork(), CPU).fusable


def test_what_fusing_saves_is_learned_by_heads():
    row = tiny_model("decoder")
    network = Network.trace(row.build(), row.example_inputs())
    space = SearchSpace.of(network, replace(CPU, channel_multiple=1))
    (heads,) = (group for group in space.groups if "q" in group.layers)
    predictor = LatencyPredictor(network, space, LatencyTable())
    for recipe, ratio in ((Recipe(fused=True), 0.5), (Recipe(keep={heads.name: 1}), 0.8)):
        predictor.learn(recipe, ratio, 0.01)
    assert predictor.ratio(Recipe()) == pytest.approx(1.0, abs=0.02)
    assert predictor.ratio(Recipe(fused=True)) == pytest.approx(0.5, abs=0.05)
    saved = predictor.ratio(Recipe(keep={heads.name: 1})) - predictor.ratio(
        Recipe(keep={heads.name: 1}, fused=True)
    )
    assert 0 < saved < 0.45
