"""One set of samples that becomes training, validation and test."""

import torch

from ...errors import TaskError

_TRAINING, _VALIDATION = 0.6, 0.2  # shares; the rest is for the test
_FEWEST = 10


def parts_of_one_set(
    count: int, *, seed: int | None, source: str, of: str
) -> tuple[list[int], list[int], list[int]]:
    """The places of the training, validation and test samples among `count`, 60 : 20 : 20, at random or, with
    `seed` None, in their order. TaskError for too few; `source` is where they are from, `of` what they are.
    """
    if count < _FEWEST:
        raise TaskError(f"{source} has {count} {of}, too few to split: give at least {_FEWEST}.")
    order = list(range(count))
    if seed is not None:
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    first, second = int(_TRAINING * count), int((_TRAINING + _VALIDATION) * count)
    return order[:first], order[first:second], order[second:]
