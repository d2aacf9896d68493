"""Which values an input of whole numbers has, where the task says so: tokens of a text, categories."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ...errors import TaskError
from ..task import Split, UsedTokens
from .grouping import Inputs
from .shapes import spread_samples


def tokens_by_position(
    used: UsedTokens, names: Sequence[str], inputs: Sequence[Tensor]
) -> dict[str | int, Sequence[int]]:
    """What `used_tokens` says, by the input's position; each value once. TaskError if it does not fit the
    inputs.
    """
    by_position: dict[str | int, Sequence[int]] = {}
    for key, tokens in used.items():
        position = names.index(key) if isinstance(key, str) and key in names else key
        if not isinstance(position, int) or not 0 <= position < len(inputs):
            raise TaskError(f"used_tokens has the input {key!r}: the model has {', '.join(names)}.")
        if inputs[position].is_floating_point() or inputs[position].is_complex():
            kind = str(inputs[position].dtype).removeprefix("torch.")
            raise TaskError(f"used_tokens has the input {key!r} of {kind}: it is for whole numbers.")
        by_position[position] = _tokens(key, tokens)
    return by_position


def _tokens(key: str | int, tokens: Iterable[int]) -> tuple[int, ...]:
    values = tuple(dict.fromkeys(int(token) for token in tokens))
    if not values or min(values) < 0:
        raise TaskError(f"used_tokens[{key!r}] must have at least one number, and none below 0.")
    return values


def unlisted_notes(used: UsedTokens, splits: Iterable[tuple[str, Split]]) -> tuple[str, ...]:
    """A sentence for each split with values that the task does not list, in samples from all over it."""
    notes = []
    for name, split in splits if used else ():
        changed: list[Tensor] = []
        for inputs, _ in spread_samples(name, split):
            known = listed(inputs, used)
            changed += [(known[at] != inputs[at]).flatten().float() for at in _places(used)]
        share = float(torch.cat(changed).mean())
        if share > 0:
            notes.append(
                f"About {share:.1%} of the tokens of {name} are not in used_tokens: without unused rows they "
                "are read as the first one that is."
            )
    return tuple(notes)


def listed(inputs: Inputs, used: UsedTokens) -> Inputs:
    """The inputs as a model without unused rows reads them: what is not listed is the first that is."""
    changed = list(inputs)
    for position in _places(used):
        x, tokens = inputs[position], torch.tensor(used[position])
        changed[position] = torch.where(torch.isin(x, tokens), x, tokens[0].to(x.dtype))
    return tuple(changed)


def _places(used: UsedTokens) -> list[int]:
    """The positions of inputs; a plain task has no names."""
    return [position for position in used if isinstance(position, int)]
