"""The sizes at which a search measures: `--shape`, or those of the task's own inputs."""

from dataclasses import replace

import pytest
import torch
from autocompress.errors import InputError, TaskError
from autocompress.profiles import load_profile
from autocompress.search.preparation.measured_sizes import at_sizes, measured_sizes
from autocompress.tasks import Task
from autocompress.tasks.plain.plain_task import plain_task
from autocompress.tasks.task import Dynamic
from autocompress.tests.compress.kinds import kind_task
from autocompress.tests.compress.test_dynamic_dims import TextClassifier, texts

CPU = [load_profile("cpu")]
NAMES: Dynamic = {"tokens": {1: "tokens"}, "mask": {1: "tokens"}}


@pytest.fixture(scope="module")
def task() -> Task:
    """Texts of 12 tokens; the model knows 40 positions."""
    return plain_task(replace(kind_task(TextClassifier(), texts(12)), dynamic=NAMES))


def test_without_a_shape_latency_is_measured_at_the_size_of_the_example(task: Task) -> None:
    sizes = measured_sizes(task, (), CPU)
    assert sizes is not None and sizes.text == "tokens=12"
    assert sizes.places == ((0, 1, "tokens"), (1, 1, "tokens"))


def test_macs_are_counted_at_the_usual_size(task: Task) -> None:
    sizes = measured_sizes(task, ("tokens=32:0.9,5:0.1",), CPU)
    assert [x.shape for x in at_sizes(task, sizes).inputs] == [(2, 32), (2, 32)]
    assert at_sizes(task, None) is task


def test_a_task_without_free_dimensions_has_no_sizes(task: Task) -> None:
    assert measured_sizes(replace(task, dynamic={}), (), CPU) is None


def test_an_unknown_dimension_is_refused(task: Task) -> None:
    with pytest.raises(InputError, match="names the dimension 'words', but the task has tokens: name a free"):
        measured_sizes(task, ("words=8",), CPU)
    with pytest.raises(InputError, match="'tokens', but the task names none"):
        measured_sizes(replace(task, dynamic={}), ("tokens=8",), CPU)


def test_a_size_at_which_the_model_fails_is_refused(task: Task) -> None:
    with pytest.raises(TaskError, match=r"model with inputs of tokens=41 failed: IndexError.* with --shape"):
        measured_sizes(task, ("tokens=8,41",), CPU)


def test_an_engine_is_built_for_one_size(task: Task) -> None:
    gpu = [load_profile("gpu")]
    assert measured_sizes(task, ("tokens=8",), gpu)
    with pytest.raises(InputError, match="target 'gpu' builds engines for one size: give one"):
        measured_sizes(task, ("tokens=8,16",), gpu)


def test_a_size_of_one_is_measured_but_the_example_stays_free(task: Task) -> None:
    sizes = measured_sizes(task, ("tokens=1",), CPU)
    assert sizes is not None and sizes.request()[0] == [1.0, [[0, 1, 1], [1, 1, 1]]]
    assert torch.is_tensor(at_sizes(task, sizes).inputs[0]) and at_sizes(task, sizes).inputs[0].shape == (
        2,
        2,
    )
