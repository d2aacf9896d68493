"""The engine inspector's JSON in the forms that versions write it."""

import pytest
from autocompress.targets.on_device.runtimes.tensorrt_gpu.layers import kernel_names, layer_precisions
from autocompress.targets.precision import reported_precision


def layer(
    name: str,
    kind: str,
    datatype: str,
    *,
    split=False,
    metadata: str | None = None,
    weights: str | None = None,
) -> dict:
    """A layer as versions before 11 write it, or with `split` as 11 does."""
    split_type = {"Datatype": datatype, "Format": "(NHWC) Channel major format"}
    found = {
        "Name": name,
        "LayerType": kind,
        "Inputs": [split_type if split else {"Format/Datatype": datatype}],
        "Outputs": [],
    }
    if metadata is not None:
        found["Metadata"] = metadata
    return found if weights is None else {**found, "Weights": {"Type": weights, "Count": 9}}


@pytest.mark.parametrize(
    ("datatype", "precision"),
    [
        ("Thirty-two wide channel vectorized row major Int8 format.", "int8"),
        ("Channel major FP16 format where channel % 8 == 0", "float16"),
        ("Two wide channel vectorized row major FP16 format", "float16"),
        ("Row major linear FP32", "float32"),
        ("Row major linear BFloat16 format", "bfloat16"),
        ("E4M3 FP8 Row-Major", "fp8"),
        ("Half NHWC8", "float16"),
    ],
)
def test_the_type_of_8_and_10_is_a_word_in_the_format(datatype: str, precision: str) -> None:
    layers = [
        layer(
            "conv1 + relu1",
            "CaskConvolution",
            datatype,
            metadata="[ONNX Layer: conv1]\x1e[ONNX Layer: relu1]",
        )
    ]
    assert layer_precisions(layers) == {"conv1": precision, "relu1": precision}


@pytest.mark.parametrize(
    ("datatype", "precision"), [("Int8", "int8"), ("Half", "float16"), ("Float", "float32"), ("FP8", "fp8")]
)
def test_the_type_of_11_has_a_field_of_its_own(datatype: str, precision: str) -> None:
    layers = [layer("conv1_myl0_1", "correlation", datatype, split=True, metadata="[ONNX Layer: conv1]")]
    assert layer_precisions(layers) == {"conv1": precision}


def test_without_metadata_the_layers_name_tells_its_nodes() -> None:
    layers = [
        layer("fc.weight + QuantizeLinear_7 + fc + relu", "CaskGemmConvolution", "Row major Int8 format")
    ]
    assert reported_precision(layer_precisions(layers), ["fc", "f"]) == {"fc": "int8"}


def test_the_layer_that_computes_counts_and_not_those_that_convert_or_move() -> None:
    moving = layer(
        "Reformatting CopyNode for conv1", "Reformat", "Row major linear FP32", metadata="[ONNX Layer: conv1]"
    )
    scaling = layer("conv1_scale", "kgen", "Row major linear FP32", metadata="[ONNX Layer: conv1]")
    computing = layer("conv1", "CaskConvolution", "Row major Int8 format", metadata="[ONNX Layer: conv1]")
    assert (
        layer_precisions([moving, scaling, computing])
        == layer_precisions([computing, scaling])
        == {"conv1": "int8"}
    )


def test_a_type_that_is_not_told_is_that_of_the_weights_or_left_out() -> None:
    unknown = "N/A due to dynamic shapes"
    layers = [layer("a", "CaskConvolution", unknown, weights="Half"), layer("b", "CaskConvolution", unknown)]
    assert layer_precisions(layers) == {"a": "float16"}


def test_names_alone_tell_no_precision() -> None:
    assert layer_precisions(["conv1 + relu1"]) == {}


def test_the_widest_precision_of_a_layer_that_is_called_twice_counts() -> None:
    seen = {"fc": "int8", "fc_token_1": "float32", "fc2": "int8"}
    assert reported_precision(seen, ["fc", "fc2"]) == {"fc": "float32", "fc2": "int8"}


def test_kernels_get_the_names_of_their_nodes() -> None:
    layers = [
        layer("Reformatting CopyNode for conv1", "Reformat", "Float"),
        layer(
            "__myl_conv_myl0_1",
            "correlation",
            "Float",
            split=True,
            metadata="[ONNX Layer: conv1][ONNX Layer: relu]",
        ),
    ]
    assert kernel_names(layers) == {"__myl_conv_myl0_1": "conv1"}


def test_a_fused_sum_whose_first_input_is_the_other_branch_runs_in_the_type_of_its_weights() -> None:
    fused = layer(
        "__myl_CorrCastAddRelu_myl0_4",
        "runtime_fusion",
        "Float",
        split=True,
        metadata="[ONNX Layer: conv2]\x1f[ONNX Layer: add]",
    )
    fused["Inputs"].append({"Datatype": "Half"})
    fused["Constants"] = [
        {"Dimensions": [1], "Datatype": "Float"},
        {"Dimensions": [16, 16, 3, 3], "Datatype": "Half"},
    ]
    assert layer_precisions([fused])["conv2"] == "float16"


@pytest.mark.parametrize(
    ("inputs", "precision"), [(["Float", "Int8"], "int8"), (["Half"], "float16")], ids=str
)
def test_weights_of_8_bits_are_merely_stored_so_where_no_input_has_them(
    inputs: list[str], precision: str
) -> None:
    seen = layer("fc", "gemm", inputs[0], split=True, metadata="[ONNX Layer: fc]")
    seen["Inputs"] = [{"Datatype": kind} for kind in inputs]
    seen["Constants"] = [{"Dimensions": [10, 64], "Datatype": "Int8"}]
    assert layer_precisions([seen]) == {"fc": precision}
