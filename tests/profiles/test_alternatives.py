"""Which runtimes a device has, by what its profiles say."""

import pytest
from autocompress.errors import InputError
from autocompress.profiles import load_profile, parse_target
from autocompress.profiles.alternatives import alternatives_of, runtimes_text, targets_of_runtimes


def test_profiles_that_name_the_same_device_are_its_runtimes():
    assert alternatives_of("cpu") == {
        "onnxruntime": "cpu",
        "openvino": "cpu-openvino",
        "litert": "cpu-litert",
    }
    assert alternatives_of("cpu-litert") == alternatives_of("cpu")
    assert alternatives_of("raspberry-pi-5") == {
        "onnxruntime": "raspberry-pi-5",
        "litert": "raspberry-pi-5-litert",
    }


def test_what_inherits_from_a_runtime_of_a_device_is_another_device():
    assert load_profile("cpu-openvino-bf16").same_device_as is None
    assert list(alternatives_of("cpu-openvino-bf16")) == ["openvino"]


def test_being_the_same_device_changes_no_measurement(tmp_path):
    stated, plain = tmp_path / "a.toml", tmp_path / "b.toml"
    stated.write_text('inherits = "cpu"\nsame_device_as = "cpu"\n')
    plain.write_text('inherits = "cpu"\n')
    assert load_profile(str(stated)).fingerprint == load_profile(str(plain)).fingerprint


def test_runtimes_become_the_targets_of_a_search_in_one_order():
    assert targets_of_runtimes("cpu", "litert,onnxruntime") == "cpu,cpu-litert"
    assert targets_of_runtimes("cpu-litert", "onnxruntime") == "cpu"


def test_a_board_keeps_its_address():
    there = targets_of_runtimes("raspberry-pi-5@pi@192.168.1.20:22", "all")
    assert there == "raspberry-pi-5@pi@192.168.1.20:22,raspberry-pi-5-litert@pi@192.168.1.20:22"


@pytest.mark.parametrize(
    ("target", "runtimes", "said"),
    [
        ("cpu", "tensorrt", "no runtime of 'cpu': choose onnxruntime, openvino, litert, or all"),
        ("cpu", "litert,litert", "'litert' twice"),
        ("gpu", "all", "no other runtime than tensorrt: leave out --runtimes"),
        ("cpu,cpu-2t", "all", "names several targets"),
        ("cpu@left+right", "all", "names several boards"),
    ],
)
def test_what_cannot_be_asked_for_is_said(target, runtimes, said):
    with pytest.raises(InputError, match=said):
        targets_of_runtimes(target, runtimes)


def test_a_runtime_that_is_not_installed_is_named_with_its_command_and_left_out_of_all(monkeypatch):
    monkeypatch.setattr(
        "autocompress.profiles.alternatives.importlib.util.find_spec",
        lambda name: None if name == "openvino" else object(),
    )
    assert targets_of_runtimes("cpu", "all") == "cpu,cpu-litert"
    said = "onnxruntime, openvino (not installed: pip install openvino numpy), litert."
    assert runtimes_text(parse_target("cpu")).endswith(said)
    assert runtimes_text(parse_target("gpu")) == ""
    with pytest.raises(InputError, match="OpenVINO is not installed here: pip install openvino"):
        targets_of_runtimes("cpu", "onnxruntime,openvino")
