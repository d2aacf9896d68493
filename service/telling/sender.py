"""The sender: a thread that sends what is due, and tries again what was not taken."""

import threading
import time
from collections.abc import Callable, Mapping

from sqlalchemy import delete, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from ...errors import AutocompressError
from ...nightly.pages.message import Message
from ...nightly.pages.sending import send
from ..database.opened import Database
from ..database.tables import Delivery
from ..listed import NOTIFY, Listed
from .webhooks import Taken, post

_LOOK_S, _AT_ONCE = 1.0, 20
_FIRST_S, _FACTOR, MOST_TRIES = 10.0, 4.0, 7  # 10 s, 40 s, 160 s … 3 h
_HELD_S = 60.0  # a sender that is killed while it sends: another one tries after this time
_KEPT_S = 30 * 86400.0


class Sender:
    """Sends deliveries to what is listed. `variables` has the secrets by the names that serve.toml gives."""

    def __init__(
        self,
        database: Database,
        listed: Listed,
        variables: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.time,
    ):
        self._database, self._listed, self._variables, self._clock = database, listed, variables, clock
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        """Starts the thread; nothing to do where nothing is listed."""
        if self._listed.events:
            self._thread.start()

    def stop(self) -> None:
        """Ends it after what it sends now."""
        self._ends.set()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        while not self._ends.wait(_LOOK_S):
            try:
                self.send_due()
            except DBAPIError:  # the database is away: what waits in it waits
                continue

    def send_due(self) -> int:
        """Sends what is due, once; how many were tried."""
        for delivery in (due := self._held()):
            taken = self._sent(delivery)
            with self._database.writing() as session:
                self._settle(session, delivery, taken)
        return len(due)

    def _held(self) -> list[Delivery]:
        """What is due, which nobody else tries meanwhile."""
        now = self._clock()
        with self._database.writing() as session:
            session.execute(
                delete(Delivery).where(Delivery.state != "waiting", Delivery.created < now - _KEPT_S)
            )
            query = select(Delivery).where(Delivery.state == "waiting", Delivery.due <= now)
            query = query.order_by(Delivery.due).limit(_AT_ONCE).with_for_update(skip_locked=True)
            due = list(session.scalars(query))
            for one in due:
                one.tries, one.due = one.tries + 1, now + _HELD_S
        return due

    def _sent(self, delivery: Delivery) -> Taken:
        if delivery.hook == NOTIFY and self._listed.notify is not None:
            return self._message(delivery, self._listed.notify.addresses)
        hook = self._listed.hooks.get(delivery.hook)
        if hook is None:
            return Taken(yes=False, said="serve.toml does not list it any more")
        secret = self._variables.get(hook.secret, "")
        return post(hook.url, secret, f"msg_{delivery.id}", delivery.body, at=int(self._clock()))

    def _message(self, delivery: Delivery, variable: str) -> Taken:
        title = f"autocompress: {delivery.event} {delivery.subject}"
        about = delivery.body.get("search") or delivery.body.get("night") or {}
        body = "\n".join(f"{name}: {value}" for name, value in about.items() if value not in ("", None))
        message = Message(title=title, body=body or title, grave=delivery.event == "failed")
        try:
            send(message, self._variables.get(variable, "").split(), variable=variable)
        except AutocompressError as error:
            return Taken(yes=False, said=str(error))
        return Taken(yes=True, said="sent")

    def _settle(self, session: Session, delivery: Delivery, taken: Taken) -> None:
        over = delivery.tries >= MOST_TRIES
        state = "sent" if taken.yes else "given up" if over else "waiting"
        due = self._clock() + _FIRST_S * _FACTOR ** (delivery.tries - 1)
        values = {"state": state, "said": taken.said[:500], "due": due}
        session.execute(update(Delivery).where(Delivery.id == delivery.id).values(values))
