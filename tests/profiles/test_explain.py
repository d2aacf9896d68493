"""`targets show` says in words what a profile means."""

from dataclasses import replace
from pathlib import Path

import pytest
from autocompress.profiles import load_profile, parse_target, profile_names
from autocompress.profiles.explain import explain


def explained(text: str) -> str:
    address = parse_target(text)
    return " ".join(explain(load_profile(address.profile), address).split())


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_is_explained_in_lines_of_a_terminal(name: str) -> None:
    profile = load_profile(name)
    lines = explain(profile, parse_target(name)).splitlines()
    assert lines[0] == f"{name}: {profile.description}"
    assert max(len(line) for line in lines[1:] if "http" not in line) <= 118


def test_a_board_is_explained_with_its_address_power_mode_and_figures() -> None:
    text = explained("jetson@ann@10.0.0.5:2222")
    assert "ann@10.0.0.5:2222, aarch64, called 'Jetson Orin Nano' by its system; over SSH" in text
    assert "int8 activations without a zero point" in text and "float32 biases" in text
    assert "MAXN_SUPER is the one to measure in" in text
    assert (
        "2.09 in float32, 16.7 in float16 and 33.4 in int8" in text and "8 GB of memory at 102.4 GB/s" in text
    )
    assert "float16_24 and int8_24" in text and "fp8" not in text
    assert "marks it with ~" in text


def test_weights_that_are_stored_for_tensorrt_8_are_told() -> None:
    profile = replace(load_profile("jetson"), int8_weights="float32")
    assert "stored in float32, in four times the bytes" in " ".join(
        explain(profile, parse_target("jetson")).split()
    )
    assert "four times" not in explained("jetson")


def test_int8_sums_that_saturate_are_told_where_they_do() -> None:
    assert "saturates sums" in explained("cpu")
    assert not any("saturates sums" in explained(name) for name in ("cpu-avx2", "raspberry-pi-5", "jetson"))


def test_threads_are_told_where_they_count() -> None:
    assert "ONNX Runtime, 4 threads;" in explained("raspberry-pi-5") and "thread;" not in explained("jetson")


def test_a_limit_of_memory_and_what_is_not_legal_are_told(tmp_path: Path) -> None:
    (tmp_path / "edge.toml").write_text(
        'inherits = "cpu"\nmemory_limit_bytes = 536870912\nprecisions = ["float32"]'
    )
    text = explained(str(tmp_path / "edge.toml"))
    assert (
        "at most 512.0 MB" in text
        and "int8" not in text.split("Q/DQ")[0].split("Precisions")[1].split("Fewer")[0]
    )
    assert "always measured" in text
