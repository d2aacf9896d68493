"""One artifact in two runtimes, in turns: real workers, one of which has a slower ONNX Runtime."""

import sys
from functools import partial
from pathlib import Path

import pytest
from autocompress.errors import TargetUnavailable
from autocompress.evaluation.targets import load_targets, target_at
from autocompress.nightly.steps import in_turns
from autocompress.nightly.steps.in_turns import Setting, Turns, measure_in_turns
from autocompress.targets import control
from autocompress.targets.turns import ratios_in_turns
from autocompress.tests.deploy.small_run import linear

SLOWER = Path(__file__).with_name("slower_runtime")


@pytest.fixture
def target():
    (named,) = load_targets("cpu")
    return target_at(named.profile, named.address)


@pytest.fixture
def slower(tmp_path) -> str:
    """A Python whose ONNX Runtime takes twice as long."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nSLOWER=1.0 PYTHONPATH="{SLOWER}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return str(python)


@pytest.mark.slow
def test_a_slower_runtime_is_seen_in_turns(tmp_path, target, slower, monkeypatch):
    monkeypatch.setattr(in_turns, "ratios_in_turns", partial(ratios_in_turns, rounds_max=4))
    monkeypatch.setattr(control, "TOLERANCE", 100.0)
    seen = measure_in_turns(linear(tmp_path / "model.onnx"), target, Setting(), Setting(python=slower))
    assert seen.new_version == "9.9.9" != seen.old_version
    assert seen.ratio > 1.3


def test_a_python_that_does_not_start_is_named(tmp_path, target):
    model = linear(tmp_path / "model.onnx")
    with pytest.raises(TargetUnavailable, match="nowhere"):
        measure_in_turns(model, target, Setting(python="/nowhere/python"), Setting())


def test_rounds_that_agree_have_a_narrow_interval():
    agree = Turns(old_version="1", new_version="2", ratios=(1.05, 1.051, 1.049, 1.05))
    differ = Turns(old_version="1", new_version="2", ratios=(1.0, 1.1, 0.95, 1.15))
    assert agree.ratio_interval[0] > 1.04
    assert differ.ratio_interval[0] < 1.0 < differ.ratio == pytest.approx(1.05)


def test_options_of_a_setting_replace_those_of_the_profile():
    setting = Setting(removed=frozenset({"a", "b"}), changed={"a": "1"})
    assert setting.options({"a": "0", "b": "2", "c": "3"}) == {"a": "1", "c": "3"}
