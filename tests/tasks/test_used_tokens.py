"""The values of an input that a task lists: by name or position, in the digest, and told where others occur."""

from dataclasses import replace

import pytest
import torch
from autocompress.errors import TaskError
from autocompress.tasks import Metric, Task, accuracy, check_task
from autocompress.tasks.splits.tokens import listed
from torch import Tensor, nn

DRAW = torch.Generator().manual_seed(0)


class Words(nn.Module):
    """Texts of tokens, with weights of the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(50, 8), nn.Linear(8, 2)

    def forward(self, tokens: Tensor, weights: Tensor) -> Tensor:
        scores: Tensor = self.head((self.embed(tokens) * weights[..., None]).mean(1))
        return scores


def split(highest: int) -> list[tuple[dict[str, Tensor], int]]:
    """Forty texts of tokens below `highest`, which all have the token 0."""
    texts = torch.randint(highest, (40, 6), generator=DRAW)
    texts[:, 0] = 0
    return [
        ({"tokens": text, "weights": torch.rand(6, generator=DRAW)}, i % 2) for i, text in enumerate(texts)
    ]


@pytest.fixture
def words() -> Task:
    torch.manual_seed(0)
    return Task(
        name="words",
        model=Words(),
        train=split(20),  # type: ignore[arg-type]
        validation=split(20),  # type: ignore[arg-type]
        test=split(40),  # type: ignore[arg-type]
        loss=nn.functional.cross_entropy,
        metric=Metric(name="accuracy", function=accuracy),
        example_inputs={"tokens": torch.zeros(2, 6, dtype=torch.long), "weights": torch.ones(2, 6)},
        used_tokens={"tokens": range(20)},
    )


def test_tokens_are_by_position_and_those_that_are_not_listed_are_told(words: Task) -> None:
    checked = check_task(words)
    assert checked.task.used_tokens == {0: tuple(range(20))}
    (note,) = (note for note in checked.notes if "used_tokens" in note)
    assert "tokens of test are not in used_tokens" in note and "About 4" in note  # half of five sixths
    everything = check_task(replace(words, used_tokens={"tokens": range(50)}))
    assert not any("used_tokens" in note for note in everything.notes)
    digests = {checked.digest, everything.digest, check_task(replace(words, used_tokens={})).digest}
    assert len(digests) == 3


@pytest.mark.parametrize("tokens", [[], [-1, 3], ["a"], 5, "abc"])
def test_what_is_no_list_of_tokens_is_refused(words: Task, tokens: object) -> None:
    with pytest.raises(TaskError, match="used_tokens"):
        check_task(replace(words, used_tokens={"tokens": tokens}))  # type: ignore[dict-item]


def test_other_values_become_the_first_one() -> None:
    inputs = (torch.tensor([[1, 2, 3]], dtype=torch.int32), torch.ones(1, 3))
    tokens, weights = listed(inputs, {0: (2, 3)})
    assert tokens.tolist() == [[2, 2, 3]] and tokens.dtype == torch.int32 and weights is inputs[1]
