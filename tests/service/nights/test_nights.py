"""Nightly runs of the service: the file is edited safely, nights begin at their time and go on after a kill."""

import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from autocompress.errors import InputError
from autocompress.nightly.config_file import read_config
from autocompress.nightly.places import Places
from autocompress.nightly.records.night import Night
from autocompress.service.config import read_serve_config
from autocompress.service.database.tables import Delivery
from autocompress.service.listed import Hook, Listed
from autocompress.service.nights.files import ChangedError, NightFiles
from autocompress.service.nights.runner import NightRunner
from autocompress.service.queue.job import ConflictError
from autocompress.service.tasks import Tasks
from autocompress.tests.service.served import served
from autocompress.tests.waiting import comes_true
from sqlalchemy import select

TEXT = 'at = "02:00"\n[model.digits]\ntask = "digits"\ntrials = 3\n'
LISTED = Listed(hooks={"ci": Hook(name="ci", url="http://127.0.0.1:1", secret="K")})


@pytest.fixture
def files(tmp_path):
    (tmp_path / "nights").mkdir()
    (tmp_path / "nights" / "nightly.toml").write_text(TEXT)
    (tmp_path / "serve.toml").write_text(
        '[nightly.team]\nfile = "nights/nightly.toml"\n[registry.models]\naddress = "dir:/models/digits"\n'
    )
    config = read_serve_config(tmp_path / "serve.toml")
    return NightFiles(config.listed.nightly, Tasks.of(config))


def test_a_file_is_replaced_as_a_whole_and_a_lost_update_is_refused(files):
    before = files.read("team")
    after = files.write("team", TEXT.replace("3", "5"), etag=before.etag)
    assert after.config.models[0].trials == 5 and after.path.read_text() == after.text
    with pytest.raises(ChangedError, match="changed by somebody else"):
        files.write("team", TEXT, etag=before.etag)
    assert list(after.path.parent.iterdir()) == [after.path]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[model.x", "cannot be read"),
        ('[model.x]\ntask = "digits"\nbugdet = "3m"', "did you mean 'budget'"),
        ('[model.x]\ntask = "/etc/evil.py:make"\ntrials = 3', "not registered here"),
        ('[model.x]\ntask = "timm:resnet18"\ntrials = 3', "not registered here"),
        ('[model.x]\ntask = "digits"\ntrials = 3\ntarget = "cpu@root@10.0.0.1"', "no board of this service"),
        ('[model.x]\ntask = "digits"\ntrials = 3\npush = "dir:/etc/x"', "no registry of serve.toml"),
        ('folder = "../.."\n[model.x]\ntask = "digits"\ntrials = 3', "leads out of"),
        ('[model.x]\ntask = "digits"\ntrials = 3\ndrift = "/var/log"', "leads out of"),
        ('[model.x]\ntask = "digits"\ntrials = 3\n[notify]\naddresses = "env:PGPASSWORD"', "`environment`"),
        ('at = "25:00"\n[model.x]\ntask = "digits"\ntrials = 3', "time of day"),
    ],
)
def test_a_text_that_is_wrong_or_leads_elsewhere_changes_nothing(files, text, words):
    before = files.read("team")
    with pytest.raises(InputError, match=words) as caught:
        files.write("team", text, etag=before.etag)
    assert "draft" not in str(caught.value)
    assert files.read("team") == before and list(before.path.parent.iterdir()) == [before.path]


@pytest.fixture
def runner(files, database, tmp_path):
    """A runner whose program writes down that it was called; `clock.now` is set by the test."""

    class Clock:
        now = datetime(2026, 11, 29, 1, 0).astimezone()

        def __call__(self):
            return self.now

    script = "import sys, pathlib; pathlib.Path('calls').open('a').write(' '.join(sys.argv[1:]) + chr(10))"
    (tmp_path / "logs").mkdir()
    made = NightRunner(
        files,
        database,
        LISTED,
        data=tmp_path,
        variables={},
        program=(sys.executable, "-c", script),
        clock=Clock(),
    )
    yield made
    made.stop()


def calls(files) -> list[str]:
    path = files.read("team").path.parent / "calls"
    return path.read_text().splitlines() if path.is_file() else []


def ended(runner, files) -> None:
    assert comes_true(lambda: not runner.running("team"), timeout_s=60)
    runner.look()


def test_a_night_begins_at_its_time_once_a_day_and_its_end_is_told(runner, files, database):
    runner.look()
    assert calls(files) == []
    runner._clock.now += timedelta(hours=1, minutes=5)
    runner.look()
    ended(runner, files)
    runner.look()  # the same day
    assert calls(files) == [f"nightly {files.read('team').path}"]
    runner._clock.now -= timedelta(minutes=30)  # a clock that is set back begins no second one
    runner.look()
    runner._clock.now += timedelta(days=1, minutes=30)
    runner.look()
    ended(runner, files)
    assert len(calls(files)) == 2
    with database.reading() as session:
        told = session.scalars(select(Delivery)).all()
    assert [one.event for one in told] == ["night", "night"] and told[0].body["night"]["name"] == "team"


def test_a_night_that_was_interrupted_goes_on(runner, files):
    runner._clock.now += timedelta(hours=1, minutes=5)
    runner.look()
    ended(runner, files)
    config = read_config(files.read("team").path)
    began = (runner._clock.now - timedelta(minutes=5)).isoformat(timespec="seconds")
    Places(folder=config.folder).write_night(
        Night(name="2026-11-29", began_at=began, models=(), status="running")
    )
    runner.look()
    ended(runner, files)
    assert len(calls(files)) == 2


def test_a_night_begins_when_somebody_says_so_but_not_twice(runner, files):
    runner.begin("team")
    runner.look()
    with pytest.raises(ConflictError, match="runs already"):
        runner.begin("team")
    ended(runner, files)
    assert len(calls(files)) == 1


def test_rest_reads_and_changes_the_file_with_its_etag_and_scopes(files, tmp_path):
    config = read_serve_config(tmp_path / "serve.toml")
    (tmp_path / "data").mkdir()
    with served(tmp_path / "data", config) as site:
        ana, root = site.token("ana"), site.token("root", "admin")
        got = site.ask("GET", "/v1/nightly/team", token=ana)
        assert (
            got.json["at"] == "02:00" and got.json["nights"] == [] and got.headers["ETag"] == got.json["etag"]
        )
        body = {"text": TEXT.replace("02:00", "03:30")}
        assert site.ask("PUT", "/v1/nightly/team", body, token=ana, If_Match=got.json["etag"]).status == 403
        assert site.ask("PUT", "/v1/nightly/team", body, token=root).status == 422
        assert site.ask("PUT", "/v1/nightly/team", body, token=root, If_Match='"x"').status == 412
        put = site.ask("PUT", "/v1/nightly/team", body, token=root, If_Match=got.json["etag"])
        assert put.json["at"] == "03:30" and put.headers["ETag"] != got.json["etag"]
        assert site.ask("POST", "/v1/nightly/team/nights", token=ana).status == 403
        assert site.ask("GET", "/v1/nightly/other", token=ana).status == 404
        assert Path(files.read("team").path).read_text() == body["text"]
