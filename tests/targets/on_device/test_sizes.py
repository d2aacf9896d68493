"""Latencies at stated sizes: what a model is fed with, and the mean over several of them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from autocompress.profiles import load_profile
from autocompress.profiles.sizes import Sizes
from autocompress.targets.on_device.inputs import feeds_of, sizes_of
from autocompress.targets.on_device.runtime import Input
from autocompress.targets.on_device.timing import Mixed
from autocompress.targets.target import Target
from autocompress.tests.targets.models import QUICK, samples, save

WORDS = Input("words", ["batch", "tokens"], "int64")


class Always:
    """A Bound that always takes as long; `blocks` are the counts that it was asked for."""

    def __init__(self, seconds: float):
        self.seconds, self.blocks = seconds, list[int]()

    def once(self) -> float:
        return self.seconds

    def block(self, count: int) -> tuple[float, float, list[float]]:
        self.blocks.append(count)
        return self.seconds, 2 * self.seconds, [self.seconds] * count


@pytest.mark.parametrize("tokens", [2, 4, 9])
def test_stored_samples_are_cut_or_repeated_to_the_size(tokens: int) -> None:
    stored = np.arange(8).reshape(2, 4)
    fed = feeds_of([WORDS], [stored], 2, {}, [[0, 1, tokens]])["words"]
    assert fed.shape == (2, tokens)
    np.testing.assert_array_equal(fed[1], [4, 5, 6, 7, 4, 5, 6, 7, 4][:tokens])


def test_without_samples_random_inputs_have_the_size() -> None:
    assert feeds_of([WORDS], None, 3, {}, [[0, 1, 5]])["words"].shape == (3, 5)


def test_the_heaviest_size_comes_first() -> None:
    asked = Sizes(text="tokens=8:1,64:3", places=((0, 1, "tokens"),)).request()
    assert [size for _, size in sizes_of({"sizes": asked})] == [[[0, 1, 64]], [[0, 1, 8]]]


def test_a_time_over_several_sizes_is_their_weighted_mean() -> None:
    short, long = Always(1.0), Always(10.0)
    mixed = Mixed([short, long], [0.75, 0.25])
    assert mixed.once() == 3.25
    timer, wall, single = mixed.block(100)
    assert (timer, wall) == (3.25, 6.5)
    assert (short.blocks, long.blocks, len(single)) == ([75], [25], 100)


def test_a_model_is_measured_at_its_sizes(tmp_path: Path, quiet_machine: None) -> None:
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])]
    weights = {"w": np.eye(256, dtype=np.float32)}
    model = save(tmp_path / "m.onnx", nodes, inputs={"x": ["batch", "tokens", 256]}, weights=weights)
    inputs = samples(tmp_path / "x.npz", np.ones((2, 3, 256), np.float32))
    seconds = {}
    for text in ("tokens=2", "tokens=2:0.5,400:0.5"):
        target = Target(
            load_profile("cpu"), inputs=inputs, sizes=Sizes(text=text, places=((0, 1, "tokens"),))
        )
        with target.session() as session:
            measured = session.measure(model, model, QUICK)
        assert measured.timing.sizes == text
        seconds[text] = measured.baseline_reference_s
    short, mixed = seconds.values()
    assert 2 * short < mixed


def store(path: Path, first: np.ndarray, second: np.ndarray) -> None:
    """Samples of two shapes, as a stored split has them."""
    arrays: dict[str, Any] = {"0": first, "1_0": second}
    np.savez(path, **arrays)


def test_outputs_of_several_shapes_are_a_list_of_samples(tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("Neg", ["x"], ["y"])]
    model = save(tmp_path / "m.onnx", nodes, inputs={"x": ["batch", "tokens"]})
    first, second = np.ones((3, 2), np.float32), np.full((2, 4), 5, np.float32)
    store(tmp_path / "x.npz", first, second)
    with Target(load_profile("cpu")).session() as session:
        (answers,) = session.run(model, tmp_path / "x.npz", batch=2)
    assert isinstance(answers, list) and [x.shape for x in answers] == [(2,)] * 3 + [(4,)] * 2
    assert {float(x[0]) for x in answers} == {-1.0, -5.0}


def test_outputs_of_one_shape_are_joined(tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("GlobalMaxPool", ["x"], ["y"])]
    model = save(tmp_path / "m.onnx", nodes, inputs={"x": ["batch", 1, "tokens"]})
    store(tmp_path / "x.npz", np.ones((3, 1, 2), np.float32), np.ones((2, 1, 4), np.float32))
    with Target(load_profile("cpu")).session() as session:
        (answers,) = session.run(model, tmp_path / "x.npz", batch=2)
    assert isinstance(answers, np.ndarray) and answers.shape == (5, 1, 1)
