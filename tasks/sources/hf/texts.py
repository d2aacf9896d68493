"""Rows of text as tensors: ids and masks of one length, and classes, tags or the next tokens."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ....errors import TaskError
from ...boundary import user_code
from ..array_splits import ArraySplit
from .tables import Row

IGNORED = -100  # the target of a token that does not count
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")

Encode = Callable[[list[Row]], ArraySplit]


def text_encoder(
    tokenizer: Any, text: Sequence[str], label: str, labels: Sequence[str], *, length: int
) -> Encode:
    """For texts (or pairs of texts, from two columns) with one class each."""

    def encode(rows: list[Row]) -> ArraySplit:
        columns = [[str(row[column]) for row in rows] for column in text]
        encoded = _encoded(tokenizer, *columns, length=length)
        names = _INPUTS if len(text) > 1 else _INPUTS[:2]
        targets = [class_index(row[label], labels, label) for row in rows]
        return ArraySplit({name: encoded[name] for name in names if name in encoded}, torch.tensor(targets))

    return encode


def tag_encoder(tokenizer: Any, text: str, label: str, labels: Sequence[str], *, length: int) -> Encode:
    """For lists of words with one tag each; a word's first token has its tag, the others do not count."""

    def encode(rows: list[Row]) -> ArraySplit:
        words, tags = ([_parts(row[column]) for row in rows] for column in (text, label))
        encoded = _encoded(tokenizer, words, length=length, is_split_into_words=True)
        targets = torch.full_like(encoded["input_ids"], IGNORED)
        for index, given in enumerate(tags):
            if len(given) != len(words[index]):
                raise TaskError(
                    f"A row has {len(words[index])} words in {text!r} and {len(given)} tags in {label!r}: "
                    "one tag for each word is needed."
                )
            before = None
            for place, word in enumerate(encoded.word_ids(index)):
                if word is not None and word != before:
                    targets[index, place] = class_index(given[word], labels, label)
                before = word
        return ArraySplit({name: encoded[name] for name in _INPUTS[:2]}, targets)

    return encode


def next_token_encoder(tokenizer: Any, text: str, *, length: int) -> Encode:
    """For all texts one after the other, in pieces of `length` tokens; targets are the tokens that follow."""

    def encode(rows: list[Row]) -> ArraySplit:
        with user_code("The tokenizer"):
            ids = tokenizer([str(row[text]) for row in rows], add_special_tokens=False)["input_ids"]
        end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        stream = torch.tensor([token for one in ids for token in (*one, *end)])
        count = (len(stream) - 1) // length
        if count < 1:
            raise TaskError(
                f"A split has {len(stream)} tokens, less than one piece of {length}: give more text, or "
                "--task-arg length=…"
            )
        inputs, targets = (stream[start : start + count * length].reshape(count, length) for start in (0, 1))
        return ArraySplit({"input_ids": inputs}, targets)

    return encode


def class_index(value: Any, labels: Sequence[str], column: str) -> int:
    """The class that a label names, or that is its number. Raises TaskError."""
    text = str(value).strip()
    if text in labels:
        return labels.index(text)
    if text.isdecimal() and int(text) < len(labels):
        return int(text)
    shown = ", ".join(labels[:5]) + (", …" if len(labels) > 5 else "")
    raise TaskError(f"{column}={text!r} is no class of the model: it has {shown}, or 0 to {len(labels) - 1}.")


def _encoded(tokenizer: Any, *texts: Any, length: int, **options: bool) -> Any:
    with user_code("The tokenizer"):
        return tokenizer(
            *texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt", **options
        )


def _parts(value: Any) -> list[Any]:
    """A list, or the words of a text."""
    return list(value) if isinstance(value, list | tuple) else str(value).split()
