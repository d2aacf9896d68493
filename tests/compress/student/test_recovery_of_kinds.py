"""Recovery brings models of every kind of output nearer to the original, in the task's own metric."""

import pytest
import torch
import torch.nn.functional as F
from autocompress.compress import Compressor, Network, Recipe, Recovery
from autocompress.compress.stages import StageClock
from autocompress.tasks import Metric, Task, evaluate
from torch import nn
from torch.utils.data import TensorDataset

RECOVERY = Recovery(steps=120, learning_rate=2e-3, temperature=4.0, weight=0.9)
GENERATOR = torch.Generator().manual_seed(3)


def perceptron(inputs, outputs):
    return nn.Sequential(
        nn.Linear(inputs, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, outputs)
    )


def keypoints():
    x = torch.rand(900, 24, generator=GENERATOR)
    matrix = torch.randn(24, 8, generator=GENERATOR)
    model = perceptron(24, 8)
    nn.init.constant_(model[4].bias, 64)
    metric = Metric(
        name="pixels", function=lambda o, t: float((o - t).abs().mean()), direction="lower", unit=""
    )
    return model, x, 64 + 12 * torch.tanh(x @ matrix), F.smooth_l1_loss, metric


class NextToken(nn.Module):
    """Predicts a token from the one before: N × T → N × T × 40."""

    def __init__(self):
        super().__init__()
        self.embedding, self.body = nn.Embedding(40, 24), perceptron(24, 40)

    def forward(self, tokens):
        return self.body(self.embedding(tokens))


def of_tokens(outputs, targets):
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())


def language():
    follows = torch.randint(0, 40, (40,), generator=GENERATOR)
    tokens = torch.randint(0, 40, (900, 6), generator=GENERATOR)
    noise = torch.randint(0, 40, (900, 6), generator=GENERATOR)
    surprising = torch.rand(900, 6, generator=GENERATOR) < 0.3
    following = torch.where(surprising, noise, follows[tokens])
    metric = Metric(
        name="perplexity", function=lambda o, t: float(of_tokens(o, t).exp()), direction="lower", unit=""
    )
    return NextToken(), tokens, following, of_tokens, metric


def labels():
    x = torch.randn(900, 24, generator=GENERATOR)
    t = ((x @ torch.randn(24, 6, generator=GENERATOR)) / 4 > 0.9).float()

    def hits(outputs, targets):
        return float(((outputs > 0) == (targets > 0.5)).float().mean())

    return perceptron(24, 6), x, t, F.binary_cross_entropy_with_logits, Metric(name="hits", function=hits)


def trained(make):
    torch.manual_seed(0)
    model, x, t, loss, metric = make()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(250):
        rows = torch.randint(0, 600, (64,))
        optimizer.zero_grad()
        loss(model(x[rows]), t[rows]).backward()
        optimizer.step()
    parts = [TensorDataset(x[rows], t[rows]) for rows in (slice(600), slice(600, 750), slice(750, 900))]
    return Task(
        name=make.__name__,
        model=model.eval(),
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        loss=loss,
        metric=metric,
        example_inputs=(x[:2],),
    )


@pytest.mark.parametrize("make", [keypoints, language, labels])
def test_recovery_wins_back_most_of_the_metric(make):
    task = trained(make)
    network = Network.trace(task.model, task.example_inputs)
    keep = {group.name: max(1, group.channels // 4) for group in network.groups}
    students = Compressor(task, network).students

    def drop(recipe):
        student = students.make(recipe, StageClock(), lambda _: None, None)
        value = evaluate(student.module, task.validation, task.metric)
        return task.metric.drop(value, baseline=evaluate(task.model, task.validation, task.metric))

    before, after = drop(Recipe(keep=keep)), drop(Recipe(keep=keep, recovery=RECOVERY))
    assert after < 0.6 * before
