"""The value of an Optional that a test expects to be there."""

from typing import TypeVar

T = TypeVar("T")


def present(value: T | None) -> T:
    """The value itself. AssertionError when it is None."""
    assert value is not None
    return value
