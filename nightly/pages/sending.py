"""Sends a message by apprise. The addresses hold tokens: they appear in no message, error or log of this."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ...errors import AutocompressError, InputError
from .message import Message


class NotSent(AutocompressError):  # noqa: N818 - an outcome: the night itself is done
    """Some services did not take the message; says how many, never which address."""


def send(message: Message, addresses: Sequence[str], *, variable: str) -> None:
    """Sends the message to all addresses (apprise URLs), which the environment variable `variable` held.

    InputError without apprise, without an address, and for one that is none, by its number; NotSent when a
    service did not take it.
    """
    try:
        from apprise import Apprise, NotifyFormat
    except ImportError as error:
        raise InputError("Messages need apprise: pip install 'autocompress[notify]'.") from error
    if not addresses:
        raise InputError(f"The environment variable {variable} is empty: set it to an apprise URL.")
    with _silent():
        refused = 0
        for number, address in enumerate(addresses, 1):
            service = Apprise()
            if not service.add(address):
                raise InputError(
                    f"Address {number} in the environment variable {variable} is no apprise URL."
                )
            body_format = NotifyFormat.TEXT
            if not service.notify(
                body=message.body, title=message.title, notify_type=message.level, body_format=body_format
            ):
                refused += 1
    if refused:
        raise NotSent(f"{refused} of {len(addresses)} services in {variable} did not take the message.")


@contextmanager
def _silent() -> Iterator[None]:
    """A block in which apprise logs nothing: it would repeat addresses that it cannot use. It imports modules
    that Python wants to remove, too, which is no news for whoever is told.
    """
    logger = logging.getLogger("apprise")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.disabled = before
