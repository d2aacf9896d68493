"""Messages: who is told what, by real services of apprise, and that no address is repeated anywhere."""

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest
from autocompress.errors import InputError
from autocompress.nightly.pages.message import LONGEST_BODY, Message, message_of
from autocompress.nightly.pages.sending import NotSent, send
from autocompress.tests.nightly.sample_nights import event, model_night, night

MESSAGE = Message(title="digits got worse", body="It is slower.", grave=True)
SECRET = "s3cr3t-t0k3n-1234567890"


class Service(BaseHTTPRequestHandler):
    """A service that takes JSON, and refuses what is sent to /refuse."""

    taken: ClassVar[list[dict[str, str]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        refused = self.path.startswith("/refuse")
        if not refused:
            self.taken.append(json.loads(body))
        self.send_response(500 if refused else 200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    """The address of a service on this machine, without its scheme."""
    Service.taken.clear()
    server = HTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def quiet_night(*events, state: str = "done"):
    return night(models=(model_night(events=events, state=state),))


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ((event(model="digits"),), {"worse", "changed", "always"}),
        ((event("deployed", "good"),), {"changed", "always"}),
        ((event("kept", "note"),), {"always"}),
        ((), {"always"}),
    ],
)
def test_who_is_told_depends_on_what_happened(events, told):
    assert {when for when in ("worse", "changed", "always") if message_of(quiet_night(*events), when)} == told


def test_a_message_says_what_got_worse_first_and_is_short():
    made = message_of(quiet_night(event("kept", "note"), event(model="digits", target="cpu")), "worse")
    assert made is not None and made.title == "autocompress: digits got worse (2026-11-29)"
    assert made.body.startswith("digits on cpu: It is slower.") and made.grave
    many = message_of(quiet_night(*[event(sentence="x" * 500) for _ in range(20)]), "worse")
    assert many is not None and len(many.body) < LONGEST_BODY + 60


def test_a_service_takes_the_message(service: str):
    send(MESSAGE, [f"json://{service}/take"], variable="NIGHTLY")
    (taken,) = Service.taken
    assert (taken["title"], taken["message"], taken["type"]) == (
        "digits got worse",
        "It is slower.",
        "failure",
    )


def test_one_service_that_refuses_does_not_keep_the_message_from_the_others(service: str):
    with pytest.raises(NotSent, match=r"1 of 2 services in NIGHTLY did not take the message\."):
        send(MESSAGE, [f"json://{service}/refuse", f"json://{service}/take"], variable="NIGHTLY")
    assert len(Service.taken) == 1


@pytest.mark.parametrize("address", [f"nothing://{SECRET}", SECRET, f"slack://{SECRET}"])
def test_an_address_that_is_none_is_named_by_its_number_alone(address: str, caplog, capfd):
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(InputError, match="Address 1 in the environment") as said,
    ):
        send(MESSAGE, [address], variable="NIGHTLY")
    out, err = capfd.readouterr()
    assert SECRET not in f"{said.value}{caplog.text}{out}{err}"


def test_a_token_is_in_no_log_of_a_service_that_refuses(service: str, caplog, capfd):
    with caplog.at_level(logging.DEBUG), pytest.raises(NotSent) as said:
        send(MESSAGE, [f"json://user:{SECRET}@{service}/refuse"], variable="NIGHTLY")
    out, err = capfd.readouterr()
    assert SECRET not in f"{said.value}{caplog.text}{out}{err}"


def test_without_an_address_the_variable_is_named():
    with pytest.raises(InputError, match="variable NIGHTLY is empty"):
        send(MESSAGE, [], variable="NIGHTLY")
