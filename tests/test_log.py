"""What a command says beside its result: text, JSON, or nothing but errors."""

import json

from autocompress.cli.commands import app
from autocompress.cli.console.log import make_progress
from autocompress.explore.session.events import EventProgress
from autocompress.explore.session.progress import QuietProgress
from typer.testing import CliRunner, Result

NO_MODEL = ["measure", "nowhere.onnx"]


def invoked(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*NO_MODEL, *arguments])


def test_with_log_format_json_an_error_is_an_object():
    ended = invoked("--log-format", "json")
    assert ended.exit_code == 2
    (line,) = ended.stderr.splitlines()
    assert json.loads(line) == {
        "event": "error",
        "text": "Error: The model nowhere.onnx does not exist: give the path of an ONNX file.",
    }


def test_the_next_command_writes_text_again():
    invoked("--log-format", "json")
    assert invoked().stderr.startswith("Error: The model nowhere.onnx")


def test_quiet_keeps_errors():
    assert invoked("--quiet").stderr.startswith("Error: The model nowhere.onnx")


def test_an_unknown_log_format_is_refused_with_those_that_there_are():
    ended = invoked("--log-format", "xml")
    assert ended.exit_code == 2 and "'json'" in ended.stderr


def test_progress_and_warnings_are_as_the_options_say():
    invoked("--quiet")
    assert isinstance(make_progress(), QuietProgress)
    assert isinstance(make_progress(events=True), QuietProgress)
    invoked("--log-format", "json")
    assert isinstance(make_progress(), EventProgress)
    invoked()
    assert isinstance(make_progress(events=True), EventProgress)
    assert isinstance(make_progress(silent=True), QuietProgress)
