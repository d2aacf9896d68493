"""Profiles come from TOML files, strictly."""

from dataclasses import replace
from pathlib import Path

import pytest
from autocompress.errors import ProfileError
from autocompress.files import digest_of
from autocompress.profiles import load_profile, profile_names
from autocompress.profiles.profile import _UNMEASURED


def toml(folder: Path, text: str, name: str = "board.toml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


BOARDS = (
    "jetson-agx-orin",
    "jetson-orin-nano",
    "jetson-orin-nx",
    "raspberry-pi-4",
    "raspberry-pi-5",
    "raspberry-pi-5-litert",
)


def test_the_built_in_profiles_load() -> None:
    local = (
        "cpu",
        "cpu-2t",
        "cpu-4t",
        "cpu-avx2",
        "cpu-litert",
        "cpu-openvino",
        "cpu-openvino-bf16",
        "gpu",
        "gpu-rtx",
    )
    assert profile_names() == tuple(sorted((*local, *BOARDS)))
    assert [load_profile(name).threads for name in ("cpu", "cpu-2t", "cpu-4t", "raspberry-pi-5")] == [
        1,
        2,
        4,
        4,
    ]
    assert {name: load_profile(name).architecture for name in local} == {
        **dict.fromkeys(local),
        "cpu-avx2": "x86_64",
    }
    assert {load_profile(name).architecture for name in BOARDS} == {"aarch64"}


def test_a_profile_by_an_alias_is_called_as_it_was_asked_for() -> None:
    board, alias = load_profile("jetson-orin-nano"), load_profile("jetson")
    assert alias.name == "jetson"
    assert alias == replace(board, name="jetson") and alias.fingerprint == board.fingerprint


@pytest.mark.parametrize(
    ("name", "timer"), [("cpu", "thread-cpu"), ("cpu-2t", "wall"), ("jetson", "cuda-events")]
)
def test_the_timer_follows_from_runtime_and_threads(name: str, timer: str) -> None:
    assert load_profile(name).timer == timer


def test_sessions_of_onnxruntime_are_kept_from_quantizing_float_layers() -> None:
    for name in ("cpu", "cpu-2t", "cpu-4t", "raspberry-pi-4", "raspberry-pi-5"):
        options = load_profile(name).runtime_options
        assert options["optimization.disable_specified_optimizers"] == "WeightBiasQuantization"


def test_openvino_computes_float32_layers_in_float32_unless_its_profile_says_otherwise() -> None:
    names = ("cpu-openvino", "cpu-openvino-bf16")
    assert [load_profile(name).runtime_options["INFERENCE_PRECISION_HINT"] for name in names] == [
        "f32",
        "bf16",
    ]


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_has_datasheet_figures_of_every_legal_precision_and_their_source(name: str) -> None:
    profile = load_profile(name)
    assert profile.device is not None and profile.datasheet is not None
    assert set(profile.datasheet.peak_flops) == set(profile.precisions)
    assert profile.datasheet.peak_flops["int8"] > profile.datasheet.peak_flops["float32"]
    assert "http" in profile.datasheet.source


def test_the_figures_of_jetsons_are_dense_and_without_their_dlas() -> None:
    advertised = {
        "jetson-orin-nano": 67e12,
        "jetson-orin-nx": 157e12 - 80e12,
        "jetson-agx-orin": 275e12 - 105e12,
    }
    for name, sparse in advertised.items():
        sheet = load_profile(name).datasheet
        assert sheet is not None
        assert sheet.peak_flops["int8"] == pytest.approx(sparse / 2, rel=0.01)
        assert sheet.peak_flops["float16"] == pytest.approx(sparse / 4, rel=0.01)


def test_pruning_steps_by_the_largest_multiple_of_the_legal_precisions(tmp_path: Path) -> None:
    assert load_profile("gpu").channel_multiple == 16
    assert (
        load_profile(toml(tmp_path, 'inherits = "gpu"\nprecisions = ["float32", "float16"]')).channel_multiple
        == 8
    )
    assert (
        load_profile(toml(tmp_path, 'inherits = "cpu"\nchannel_multiples = { int8 = 32 }')).channel_multiple
        == 32
    )
    assert load_profile(toml(tmp_path, 'inherits = "gpu"\nchannel_multiple = 4')).channel_multiple == 4


def test_operators_of_a_precision_that_is_not_legal_are_none() -> None:
    assert load_profile("jetson").operators("float16") == ("Conv", "Gemm")
    assert load_profile("jetson").operators("fp8") == ()
    assert load_profile("gpu-rtx").operators("fp8") == ("Conv", "Gemm")


def test_a_custom_profile_inherits_and_overrides(tmp_path: Path) -> None:
    path = toml(tmp_path, 'inherits = "cpu"\nchannel_multiple = 16\n[runtime_options]\n"session.x" = "1"\n')
    profile = load_profile(path)
    assert (profile.name, profile.channel_multiple, profile.threads) == ("board", 16, 1)
    assert profile.runtime_options == {**load_profile("cpu").runtime_options, "session.x": "1"}


def test_a_profile_inherits_from_a_file_beside_it(tmp_path: Path) -> None:
    toml(tmp_path, 'inherits = "cpu"\nopset = 22\n', "base.toml")
    assert load_profile(toml(tmp_path, 'inherits = "base.toml"\n')).opset == 22


def test_a_profile_inherits_by_alias_and_its_tables_are_merged(tmp_path: Path) -> None:
    board = load_profile("jetson")
    profile = load_profile(
        toml(tmp_path, 'inherits = "jetson"\n[datasheet]\noverhead_s = 0\npeak_flops = { int8 = 9e12 }\n')
    )
    assert board.datasheet is not None
    expected = replace(board.datasheet, overhead_s=0, peak_flops={**board.datasheet.peak_flops, "int8": 9e12})
    assert profile == replace(board, name="board", datasheet=expected)


def test_an_unknown_target_is_answered_with_the_nearest() -> None:
    with pytest.raises(ProfileError, match="did you mean 'cpu-2t'"):
        load_profile("cpu2t")
    with pytest.raises(ProfileError, match="did you mean 'jetson'"):
        load_profile("jetsn")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'inherits = "cpu"\nthread = 2',
            ["'thread'", "did you mean 'threads'", "channel_multiple", "board.toml"],
        ),
        ('inherits = "gpu"\nopset = 15', ["opset = 15", "at least 16"]),
        ('inherits = "cpu"\nopset = 99', ["opset = 99 is unknown to the installed onnx", "or less"]),
        ('inherits = "gpu-rtx"\nopset = 17', ["fp8, which needs opset 19", "remove it, or set opset = 19"]),
        ('inherits = "cpu"\nopset = 20', ["storage_bits has 4, which needs opset 21"]),
        (
            'inherits = "cpu"\nint8_weights = "float32"',
            ["int8_weights = 'float32'", "onnxruntime takes integers", "remove it"],
        ),
        ('inherits = "gpu"\nint8_weights = "float16"', ["int8_weights = 'float16'", "'int8' or 'float32'"]),
        ('inherits = "cpu"\nthreads = 0', ["threads = 0", "at least 1"]),
        ('inherits = "cpu"\nthreads = true', ["threads = True", "integer"]),
        ('inherits = "cpu"\nruntime = "tensorflow"', ["runtime = 'tensorflow'", "'onnxruntime'"]),
        ('inherits = "cpu"\nprecisions = ["int3"]', ["precisions", "float32, float16, int8, fp8"]),
        ('inherits = "cpu"\nruntime_options = { a = 1 }', ["runtime_options", "strings"]),
        ('inherits = "cpu"\nown_file_options = ["x"]', ["own_file_options has x", "remove it"]),
        ('inherits = "cpu"\nown_file_options = "x"', ["own_file_options", "a list of keys"]),
        ('inherits = "cpu"\nprecisions = ["int8"]', ["precisions leaves out float32", "add it"]),
        (
            'inherits = "cpu"\nprecisions = ["float32", "fp8"]',
            ["fp8", "onnxruntime has no kernels", "'tensorrt'"],
        ),
        ('inherits = "cpu"\nnm_sparsity = true', ["nm_sparsity", "onnxruntime", "2:4"]),
        ('inherits = "cpu"\nnm_sparsity = 1', ["nm_sparsity = 1", "false or true"]),
        ('inherits = "cpu"\narchitecture = "arm"', ["architecture = 'arm'", "'aarch64'"]),
        ('inherits = "cpu"\nstore_limit_bytes = 0', ["store_limit_bytes = 0", "at least 1"]),
        ('inherits = "cpu"\nmemory_limit_bytes = 1000', ["memory_limit_bytes = 1000", "at least 67108864"]),
        ('inherits = "cpu"\npython = ""', ["python = ''", "not empty"]),
        (
            'inherits = "cpu"\nruntime = "tensorrt"',
            ["tensorrt refuses zero points", 'activations = "int8-symmetric"'],
        ),
        (
            'inherits = "gpu"\nstorage_bits = [4]',
            ["tensorrt does not expand packed weights", "storage_bits = []"],
        ),
        (
            'inherits = "gpu"\nopset = 21\nfloat_storage_bits = [4]',
            ["tensorrt does not expand packed weights", "float_storage_bits = []"],
        ),
        ('inherits = "cpu"\nfloat_storage_bits = [5]', ["float_storage_bits", "8, 6, 4, 3, 2"]),
        ('inherits = "cpu"\nopset = 18\nstorage_bits = []', ["float_storage_bits has 4", "opset = 21"]),
        ('inherits = "gpu"\nblock4 = true', ["tensorrt does not know MatMulNBits", "block4 = false"]),
        (
            'inherits = "gpu"\nchannel_multiples = { int4 = 8 }',
            ["channel_multiples", "float32, float16, int8, fp8"],
        ),
        ('inherits = "cpu"\ndatasheet = 3', ["datasheet must be a table"]),
        ('inherits = "cpu"\n[datasheet]\nsource = "x"', ["datasheet", "peak_flops"]),
        ('inherits = "jetson"\n[datasheet]\nsource = ""', ["board.toml: datasheet must have source"]),
        (
            'inherits = "jetson"\n[datasheet]\nmemory_bytes_per_s = 0',
            ["memory_bytes_per_s", "greater than 0"],
        ),
        (
            'inherits = "jetson"\n[datasheet]\npeak_flops = { int8 = true }',
            ["peak_flops", "operations per second"],
        ),
        ('inherits = "jetson"\n[datasheet]\noverhead_s = -1', ["overhead_s", "not negative"]),
        ('inherits = "jetson"\n[datasheet]\nmemory_bytes = 1.5', ["memory_bytes", "integer"]),
        (
            'inherits = "jetson"\n[datasheet]\npeak_flop = 1',
            ["'datasheet.peak_flop'", "did you mean 'peak_flops'"],
        ),
        ('inherits = "npu"', ["inherits 'npu'", "one of cpu, cpu-2t"]),
        ('inherits = "board.toml"', ["inherits from itself"]),
        ("threads = 2", ["description, runtime missing: add what is"]),
        ("threads = ", ["cannot be read"]),
    ],
)
def test_a_wrong_file_is_refused_by_key_and_remedy(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(ProfileError) as refusal:
        load_profile(toml(tmp_path, text))
    assert all(word in str(refusal.value) for word in words), str(refusal.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="does not exist"):
        load_profile(str(tmp_path / "none.toml"))


def test_the_fingerprint_follows_what_decides_a_measurement(tmp_path: Path) -> None:
    cpu = load_profile("cpu").fingerprint
    assert load_profile(toml(tmp_path, 'inherits = "cpu"\ndescription = "mine"')).fingerprint == cpu
    assert (
        load_profile(
            toml(tmp_path, 'inherits = "cpu"\npython = "/opt/python"\nstore_limit_bytes = 9\ndevice = "Box"')
        ).fingerprint
        == cpu
    )
    assert load_profile(toml(tmp_path, 'inherits = "cpu"\nthreads = 2')).fingerprint != cpu
    assert load_profile(toml(tmp_path, 'inherits = "cpu"\nactivations = "int8-symmetric"')).fingerprint != cpu


def test_a_key_that_came_later_leaves_the_measurements_of_before_valid() -> None:
    profile = load_profile("jetson")
    before = {
        key: value for key, value in profile.to_json().items() if key not in {*_UNMEASURED, "int8_weights"}
    }
    assert profile.fingerprint == digest_of(before) != replace(profile, int8_weights="float32").fingerprint


def test_what_the_maker_says_does_not_decide_a_measurement(tmp_path: Path) -> None:
    changed = load_profile(toml(tmp_path, 'inherits = "jetson"\n[datasheet]\nmemory_bytes_per_s = 68e9'))
    assert changed.datasheet != load_profile("jetson").datasheet
    assert changed.fingerprint == load_profile("jetson").fingerprint


def test_a_profile_for_tensorrt_8_is_three_lines(tmp_path: Path) -> None:
    found = load_profile(toml(tmp_path, 'inherits = "jetson"\nopset = 16\nint8_weights = "float32"\n'))
    assert (found.opset, found.int8_weights) == (16, "float32")
    assert found.fingerprint != load_profile("jetson").fingerprint  # other files, other measurements
