"""What is deployed goes to the registry, once, with the alias of what is deployed now."""

import json
from pathlib import Path

import pytest
from autocompress.cli.commands import app
from autocompress.errors import InputError
from autocompress.nightly.records.event import exit_code
from autocompress.tests.deploy.registry.bundles import made_bundle
from autocompress.tests.nightly.stand_in import CONFIG, StandIn, a_night, configured
from typer.testing import CliRunner

PUSHED = CONFIG.replace("[model.digits]", '[model.digits]\npush = "dir:registry/digits"')


class Pushing(StandIn):
    """Its bundles are real, and so are its pushes."""

    def _pick(self, words: list[str]) -> dict:
        out = Path(words[words.index("--out") + 1])
        made_bundle(out.parent / ".made").rename(out)
        return {}

    def _push(self, words: list[str]) -> dict:
        at = words.index("dir:registry/digits")
        words[at] = f"dir:{self._place}/registry/digits"  # commands of a night run in its folder
        return json.loads(CliRunner().invoke(app, words).stdout)


def test_what_is_deployed_is_pushed_once(tmp_path):
    config, commands = configured(tmp_path, PUSHED), Pushing(tmp_path)
    first, second = a_night(config, commands), a_night(config, commands)
    index = json.loads((tmp_path / "registry/digits/index.json").read_text())
    assert (len(index["versions"]), index["aliases"]) == (1, {"champion": 1})
    told = [
        [event for event in night.all_events if "registry/digits" in event.sentence]
        for night in (first, second)
    ]
    assert [len(events) for events in told] == [1, 0]
    assert exit_code(first.all_events) == 0 and commands.count("push") == 2


def test_a_push_that_failed_is_told_and_made_up_for(tmp_path):
    config, commands = configured(tmp_path, PUSHED), Pushing(tmp_path)
    commands.ends["push"] = [3]
    first, second = a_night(config, commands), a_night(config, commands)
    assert exit_code(first.all_events) == 1
    assert any("could not be pushed to dir:registry/digits" in event.sentence for event in first.all_events)
    assert exit_code(second.all_events) == 0 and (tmp_path / "registry/digits/index.json").is_file()


@pytest.mark.parametrize(
    ("line", "words"),
    [('push = "digits"', "is no registry"), ('push = "mlflow:a b"', "must be letters")],
)
def test_a_registry_that_is_none_is_refused(line, words, tmp_path):
    with pytest.raises(InputError, match=rf"model\.digits.*{words}"):
        configured(tmp_path, CONFIG.replace("[model.digits]", f"[model.digits]\n{line}"))


def test_a_registry_for_several_targets_is_refused(tmp_path):
    text = PUSHED.replace("[model.digits]", '[model.digits]\ntarget = "cpu,cpu-2t"')
    with pytest.raises(InputError, match="several targets, and push is for a model of one"):
        configured(tmp_path, text)
