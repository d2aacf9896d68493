"""What happens is told: signed, tried again, given up; to those alone who are listed."""

import base64
import hashlib
import hmac
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from autocompress.errors import InputError
from autocompress.service.config import read_serve_config
from autocompress.service.database.tables import Delivery
from autocompress.service.listed import Hook, Listed, NotifyBy
from autocompress.service.order import Order
from autocompress.service.queue.claims import Claims, Told
from autocompress.service.queue.jobs import Jobs
from autocompress.service.telling.outbox import tell
from autocompress.service.telling.sender import MOST_TRIES, Sender
from sqlalchemy import select

SECRET = "a-shared-key-of-the-receiver"


class Receiver(ThreadingHTTPServer):
    """Keeps what it gets, and answers with `status`."""

    def __init__(self):
        self.got, self.status = [], 204
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), body))
        self.send_response(self.server.status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    do_GET = do_POST  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def listed(receiver):
    return Listed(
        hooks={"ci": Hook(name="ci", url=receiver.url, secret="KEY", events=("finished", "paused"))}
    )


@pytest.fixture
def sender(database, listed, clock):
    return Sender(database, listed, {"KEY": SECRET}, clock=clock)


def told(database, listed, clock):
    with database.writing() as session:
        tell(session, listed.events, "finished", "s1", {"search": {"id": "s1"}}, at=clock.now)


def deliveries(database):
    with database.reading() as session:
        return list(session.scalars(select(Delivery).order_by(Delivery.id)))


@pytest.fixture
def ended_job(database, listed, clock, ana):
    jobs = Jobs(database, tells=listed.events, clock=clock)
    claims = Claims(database, tells=listed.events, clock=clock)
    job, _ = jobs.submit(Order(), ana, key=None, origin="h")
    claims.claim("w", [])
    return claims.end(job.id, 1, Told(), exit_code=0, message="")


def test_the_end_of_a_search_is_posted_with_a_signature_that_the_receiver_can_check(
    database, sender, receiver, clock, ended_job
):
    job = ended_job
    assert sender.send_due() == 1
    ((path, headers, body),) = receiver.got
    value = json.loads(body)
    assert (path, value["event"], value["search"]["id"]) == ("/hook", "finished", job.id)
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert abs(int(headers["webhook-timestamp"]) - clock.now) < 2
    assert [one.state for one in deliveries(database)] == ["sent"] and sender.send_due() == 0


def test_what_is_not_taken_is_tried_again_after_longer_and_longer_times_and_given_up(
    database, listed, sender, receiver, clock
):
    receiver.status = 500
    told(database, listed, clock)
    waits = []
    for _ in range(MOST_TRIES):
        assert sender.send_due() == 1
        (row,) = deliveries(database)
        waits.append(row.due - clock.now)
        assert sender.send_due() == 0  # not before its time
        clock.now = row.due
    assert waits[:3] == [10, 40, 160] and row.state == "given up" and row.said == "500"
    assert sender.send_due() == 0


def test_a_redirect_is_not_followed(database, listed, sender, receiver, clock):
    receiver.status = 307
    told(database, listed, clock)
    sender.send_due()
    assert [path for path, _, _ in receiver.got] == ["/hook"]
    assert [one.said for one in deliveries(database)] == ["307"]


def test_a_receiver_that_is_away_or_is_listed_no_more_stops_nobody(database, listed, receiver, clock):
    away = Hook(name="ci", url="http://127.0.0.1:1/x", secret="KEY", events=("finished",))
    told(database, listed, clock)
    Sender(database, Listed(hooks={"ci": away}), {}, clock=clock).send_due()
    assert deliveries(database)[0].said == "ConnectionRefusedError"
    clock.now += 100
    Sender(database, Listed(), {}, clock=clock).send_due()
    assert "does not list it" in deliveries(database)[0].said and receiver.got == []


def test_two_services_on_one_database_send_each_delivery_once(database, listed, receiver, clock):
    for _ in range(6):
        told(database, listed, clock)
    senders = [Sender(database, listed, {"KEY": SECRET}, clock=clock) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda one: [one.send_due() for _ in range(3)], senders))
    assert sorted(headers["webhook-id"] for _, headers, _ in receiver.got) == [
        f"msg_{n}" for n in range(1, 7)
    ]


def test_a_message_goes_by_apprise_to_the_addresses_of_the_variable(database, receiver, clock):
    pytest.importorskip("apprise")
    listed = Listed(notify=NotifyBy(addresses="TO", events=("finished",)))
    told(database, listed, clock)
    address = receiver.url.replace("http://", "json://")
    Sender(database, listed, {"TO": address}, clock=clock).send_due()
    assert json.loads(receiver.got[0][2])["title"] == "autocompress: finished s1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[webhook.ci]\nurl = "ftp://x"\nsecret = "env:K"', "webhook.ci.url is no address"),
        ('[webhook.ci]\nurl = "https://x"\nsecret = "hunter2hunter2"', "must not be here in the clear"),
        ('[webhook.ci]\nurl = "https://x"\nsecret = "env:K"\nevents = ["done"]', "choose submitted"),
        ('[webhook.ci]\nurl = "https://a:b@x"\nsecret = "env:K"', "is no address"),
        ('[notify]\naddresses = "tgram://token"', "must not be here in the clear"),
    ],
)
def test_what_serve_toml_says_wrongly_of_webhooks_is_one_sentence(tmp_path, text, words):
    (tmp_path / "serve.toml").write_text(text)
    with pytest.raises(InputError, match=words):
        read_serve_config(tmp_path / "serve.toml")
