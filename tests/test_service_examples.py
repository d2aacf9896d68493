"""examples/service/: each file is one that its own tool takes, and every command in them exists."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from autocompress.cli.commands import app
from autocompress.service.config import read_serve_config
from autocompress.tests.present import present
from ruamel.yaml import YAML
from typer.main import get_command

FOLDER = Path(__file__).parents[1] / "examples" / "service"
UNITS = ("autocompress-serve.service", "autocompress-worker.service")


def parsed(words: list[str]) -> str:
    """The command that the words are; an error of the command line when they are none."""
    group = get_command(app)
    command = group.commands[words[0]]  # type: ignore[attr-defined]
    command.make_context(words[0], list(words[1:]))
    return words[0]


def test_serve_toml_is_read():
    config = read_serve_config(FOLDER / "serve.toml")
    assert set(config.tasks) == {"digits", "exported"} and config.limits.file_bytes == 20 << 30


def test_compose_follows_its_schema_and_its_commands_exist():
    path = FOLDER / "compose.yml"
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    services = YAML(typ="safe").load(path.read_text())["services"]
    assert [parsed(services[name]["command"]) for name in ("service", "worker")] == ["serve", "worker"]
    made = re.findall(r"service (serve .*--token-for \w+ .*)", path.read_text())
    assert [parsed(line.split()) for line in made] == ["serve", "serve"]


def test_the_image_runs_commands_that_exist_as_a_user_of_its_own():
    text = (FOLDER / "Dockerfile").read_text()
    assert parsed(json.loads(present(re.search(r"^CMD (.*)$", text, re.MULTILINE))[1])) == "serve"
    assert text.index("USER autocompress") < text.index("ENTRYPOINT")


def test_kubernetes_has_what_belongs_together_and_its_commands_exist():
    found = list(YAML(typ="safe").load_all((FOLDER / "kubernetes.yml").read_text()))
    kinds = {one["kind"]: one for one in found}
    assert set(kinds) == {"Deployment", "Service", "PersistentVolumeClaim", "StatefulSet"}
    for kind in ("Deployment", "StatefulSet"):
        spec = kinds[kind]["spec"]
        assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
        parsed(spec["template"]["spec"]["containers"][0]["args"])
    assert kinds["Service"]["spec"]["selector"] == {"app": "autocompress"}


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd: apt-get install systemd un-skips this"
)
def test_systemd_takes_the_units(tmp_path):
    for name in UNITS:
        text = (FOLDER / name).read_text().replace("/srv/autocompress/.venv/bin/autocompress", sys.executable)
        (tmp_path / name).write_text(text.replace("User=autocompress", "User=root"))
    paths = [str(tmp_path / name) for name in UNITS]
    done = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False)
    about = [line for line in done.stderr.splitlines() if "autocompress-" in line]
    assert (done.returncode, about) == (0, []), done.stderr


def test_the_commands_of_the_units_exist():
    texts = [(FOLDER / name).read_text() for name in UNITS]
    lines = [present(re.search(r"^ExecStart=\S+ (.*)$", text, re.MULTILINE))[1] for text in texts]
    assert [parsed(line.split()) for line in lines] == ["serve", "worker"]
