"""Profiles come from TOML files, strictly."""

from pathlib import Path

import pytest
from autocompress.errors import ProfileError
from autocompress.profiles import load_profile, profile_names


def toml(folder: Path, text: str, name: str = "board.toml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_the_built_in_profiles_load() -> None:
    assert profile_names() == ("cpu", "cpu-2t")
    assert [load_profile(name).threads for name in profile_names()] == [1, 2]


def test_one_thread_is_timed_in_cpu_time_and_two_by_the_wall_clock() -> None:
    assert load_profile("cpu").timer == "thread-cpu"
    assert load_profile("cpu-2t").timer == "wall"


def test_sessions_are_kept_from_quantizing_float_layers() -> None:
    for name in profile_names():
        options = load_profile(name).runtime_options
        assert options["optimization.disable_specified_optimizers"] == "WeightBiasQuantization"


def test_a_custom_profile_inherits_and_overrides(tmp_path: Path) -> None:
    path = toml(tmp_path, 'inherits = "cpu"\nchannel_multiple = 16\n[runtime_options]\n"session.x" = "1"\n')
    profile = load_profile(path)
    assert (profile.name, profile.channel_multiple, profile.threads) == ("board", 16, 1)
    assert profile.runtime_options == {**load_profile("cpu").runtime_options, "session.x": "1"}


def test_a_profile_inherits_from_a_file_beside_it(tmp_path: Path) -> None:
    toml(tmp_path, 'inherits = "cpu"\nopset = 19\n', "base.toml")
    assert load_profile(toml(tmp_path, 'inherits = "base.toml"\n')).opset == 19


def test_an_unknown_target_is_answered_with_the_nearest() -> None:
    with pytest.raises(ProfileError, match="did you mean 'cpu-2t'"):
        load_profile("cpu2t")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('inherits = "cpu"\nthread = 2', ["'thread'", "did you mean 'threads'", "channel_multiple", "board.toml"]),
        ('inherits = "cpu"\nthreads = 0', ["threads = 0", "at least 1"]),
        ('inherits = "cpu"\nthreads = true', ["threads = True", "integer"]),
        ('inherits = "cpu"\nruntime = "tensorflow"', ["runtime = 'tensorflow'", "'onnxruntime'"]),
        ('inherits = "cpu"\nprecisions = ["int3"]', ["precisions", "float32, int8"]),
        ('inherits = "cpu"\nruntime_options = { a = 1 }', ["runtime_options", "strings"]),
        ('inherits = "gpu"', ["inherits 'gpu'", "'cpu'"]),
        ('inherits = "board.toml"', ["inherits from itself"]),
        ("threads = 2", ["description, runtime is missing"]),
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
    assert load_profile(toml(tmp_path, 'inherits = "cpu"\nthreads = 2')).fingerprint != cpu
