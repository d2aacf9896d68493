"""A small valid task; tests replace one field of it."""

import pytest
import torch
import torch.nn.functional as F
from autocompress.tasks import Metric, Task, accuracy
from torch import Tensor, nn
from torch.utils.data import TensorDataset


def points(count: int, seed: int) -> TensorDataset:
    """Points of the plane with noise, their class the sign of the first coordinate."""
    inputs = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(inputs, (inputs[:, 0] > 0).long())


class SignNet(nn.Module):
    """Knows the sign of the first coordinate, but is wrong where the second is above 1.5."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
            self.linear.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """N × 2 to N × 2."""
        wrong = (x[:, 1:] > 1.5).float()
        return self.linear(x) * (1 - 2 * wrong)


@pytest.fixture
def task() -> Task:
    """200 training, 600 validation and 100 test points, about 93 % right."""
    return Task(
        name="signs",
        model=SignNet(),
        train=points(200, 0),
        validation=points(600, 1),
        test=points(100, 2),
        loss=F.cross_entropy,
        metric=Metric(name="accuracy", function=accuracy),
        example_inputs=(torch.randn(2, 2),),
    )
