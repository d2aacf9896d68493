"""The sizes at which a search measures: `--shape`, or those of the task's own inputs."""

from dataclasses import replace

import pytest
import torch
from autocompress.errors import InputError, TaskError
from autocompress.explore.preparation.measured_sizes import at_sizes, measured_sizes
from autocompress.profiles import load_profile
from autocompress.tasks.check import CheckedTask
from autocompress.tasks.plain.plain_task import plain_task
from autocompress.tasks.task import Dynamic
from autocompress.tests.compress.kinds import kind_task
from autocompress.tests.compress.test_dynamic_dims import TextClassifier, texts

CPU = [load_profile("cpu")]
NAMES: Dynamic = {"tokens": {1: "tokens"}, "mask": {1: "tokens"}}


@pytest.fixture(scope="module")
def checked() -> CheckedTask:
    """Texts of 12 tokens; the model knows 40 positions."""
    task = plain_task(replace(kind_task(TextClassifier(), texts(12)), dynamic=NAMES))
    return CheckedTask(
        task=task, baseline=0.0, train_metric_sample=0.0, notes=(), digest="", derived_outputs=False
    )


def test_without_a_shape_latency_is_measured_at_the_size_of_the_example(checked: CheckedTask) -> None:
    sizes = measured_sizes(checked, (), CPU)
    assert sizes is not None and sizes.text == "tokens=12"
    assert sizes.places == ((0, 1, "tokens"), (1, 1, "tokens"))


def test_macs_are_counted_at_the_usual_size(checked: CheckedTask) -> None:
    sizes = measured_sizes(checked, ("tokens=32:0.9,5:0.1",), CPU)
    assert [x.shape for x in at_sizes(checked.task, sizes).inputs] == [(2, 32), (2, 32)]
    assert at_sizes(checked.task, None) is checked.task


def test_a_task_without_free_dimensions_has_no_sizes(checked: CheckedTask) -> None:
    assert measured_sizes(replace(checked, task=replace(checked.task, dynamic={})), (), CPU) is None


def test_an_unknown_dimension_is_refused(checked: CheckedTask) -> None:
    with pytest.raises(InputError, match="names the dimension 'words', but the task has tokens: name a free"):
        measured_sizes(checked, ("words=8",), CPU)
    with pytest.raises(InputError, match="'tokens', but the task names none"):
        measured_sizes(replace(checked, task=replace(checked.task, dynamic={})), ("tokens=8",), CPU)


def test_a_size_at_which_the_model_fails_is_refused(checked: CheckedTask) -> None:
    with pytest.raises(TaskError, match=r"model with inputs of tokens=41 failed: IndexError.* with --shape"):
        measured_sizes(checked, ("tokens=8,41",), CPU)


def test_an_engine_is_built_for_one_size(checked: CheckedTask) -> None:
    gpu = [load_profile("gpu")]
    assert measured_sizes(checked, ("tokens=8",), gpu)
    with pytest.raises(InputError, match="target 'gpu' builds engines for one size: give one"):
        measured_sizes(checked, ("tokens=8,16",), gpu)


def test_data_that_vary_are_refused_where_engines_are_built(checked: CheckedTask) -> None:
    gpu = [load_profile("gpu")]
    with pytest.raises(InputError, match="size of tokens varies in the data, but the target 'gpu' builds"):
        measured_sizes(replace(checked, varying=("tokens",)), (), gpu)


def test_a_size_of_one_is_measured_but_the_example_stays_free(checked: CheckedTask) -> None:
    sizes = measured_sizes(checked, ("tokens=1",), CPU)
    assert sizes is not None and sizes.request()[0] == [1.0, [[0, 1, 1], [1, 1, 1]]]
    assert torch.is_tensor(at_sizes(checked.task, sizes).inputs[0]) and at_sizes(checked.task, sizes).inputs[
        0
    ].shape == (
        2,
        2,
    )
