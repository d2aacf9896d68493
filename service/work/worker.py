"""The worker: asks for a job again and again."""

import threading
from collections.abc import Callable, Sequence

from ...errors import TargetUnavailable
from .connection import Connection, RefusedError
from .searching import Claimed, Place, Searching

_POLL_S = 1.0
_LONGEST_WAIT_S = 30.0


def work(
    connection: Connection,
    place: Place,
    *,
    name: str,
    labels: Sequence[str],
    ends: threading.Event,
    say: Callable[[str], None],
) -> None:
    """Works until `ends` is set; a search that runs then stops safely first. RefusedError when the token is
    refused; a service that is away is waited for.
    """
    about = {"worker": name, "labels": list(labels)}
    began, wait_s, away = False, _POLL_S, False
    while not ends.is_set():
        try:
            if not began:
                connection.ask("POST", "/v1/work/began", about)
                say(f"{name} works for {connection.url}")
                began = True
            job = connection.ask("POST", "/v1/work/claim", about)
            wait_s, away = _POLL_S, False
        except TargetUnavailable as error:
            if not away:
                say(str(error))
            job, away, wait_s = None, True, min(_LONGEST_WAIT_S, 1.5 * wait_s)
        except RefusedError as error:
            if error.status != 429 and error.status < 500:
                raise
            job = None
        if job is None:
            ends.wait(wait_s)
            continue
        claimed = Claimed.from_json(job)
        say(f"search {claimed.id}: {claimed.order.task} on {claimed.order.target}")
        Searching(claimed, place, connection, ends=ends.is_set).run()
