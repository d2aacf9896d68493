"""Where the original's metric is about 0, a search needs a limit of the drop in the metric's own unit."""

from types import SimpleNamespace
from typing import cast

import pytest
import torch
from autocompress.errors import InputError
from autocompress.explore.preparation.checked_request import CheckedRequest
from autocompress.explore.preparation.drop_scale import require_drop_scale
from autocompress.profiles import parse_drop
from autocompress.results.limits import Constraints
from autocompress.tasks.quality import evaluate
from autocompress.tasks.task import Metric, accuracy
from torch import Tensor, nn
from torch.utils.data import TensorDataset


def mse(outputs: Tensor, targets: Tensor) -> float:
    return float((outputs - targets).square().mean())


def exponential(outputs: Tensor, targets: Tensor) -> float:
    """Like a perplexity: 1 for perfect answers, huge for wrong ones."""
    return float((outputs - targets).abs().mean().mul(50).exp())


MSE = Metric(name="mse", function=mse, direction="lower", unit="")


def checked(*, metric: Metric = MSE, error: float = 0.0, max_drop: str | None = None) -> CheckedRequest:
    """A request on a model that answers its targets up to `error`."""
    torch.manual_seed(0)
    model, inputs = nn.Linear(4, 3).eval(), torch.randn(500, 4)
    with torch.no_grad():
        answers = model(inputs)
    targets = answers.argmax(1) if metric.unit else answers + error * torch.randn_like(answers)
    validation = TensorDataset(inputs, targets)
    baseline = evaluate(model, validation, metric)
    limits = {"cpu": Constraints(max_drop=parse_drop(max_drop) if max_drop else None)}
    task = SimpleNamespace(model=model, validation=validation, metric=metric)
    return cast(
        CheckedRequest,
        SimpleNamespace(checked=SimpleNamespace(task=task, baseline=baseline), constraints=limits),
    )


@pytest.mark.parametrize("max_drop", [None, "1%", "0abs"])
@pytest.mark.parametrize("error", [0.0, 1e-4])
def test_a_perfect_original_needs_a_limit_in_the_metric_s_own_unit(error, max_drop):
    with pytest.raises(
        InputError, match=r"says what a large drop is.* its own unit, such as --max-drop 0\.0\dabs\.$"
    ):
        require_drop_scale(checked(error=error, max_drop=max_drop))


@pytest.mark.parametrize(
    "options",
    [
        {"error": 0.1},
        {"max_drop": "0.02abs"},
        {"metric": Metric(name="accuracy", function=accuracy)},
        {
            "metric": Metric(name="perplexity", function=exponential, direction="lower", unit=""),
            "error": 0.05,
        },
    ],
    ids=["a usual error", "a limit", "a fraction", "a perplexity"],
)
def test_other_searches_need_none(options):
    require_drop_scale(checked(**options))


def test_a_metric_that_fails_on_other_answers_is_refused_only_where_it_is_0():
    def strict(outputs: Tensor, targets: Tensor) -> float:
        if mse(outputs, targets) > 0.1:
            raise ValueError("too far off")
        return mse(outputs, targets)

    metric = Metric(name="strict", function=strict, direction="lower", unit="")
    require_drop_scale(checked(metric=metric, error=1e-4))
    with pytest.raises(InputError, match=r"such as --max-drop 0\.1abs"):
        require_drop_scale(checked(metric=metric))
