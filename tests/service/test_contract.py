"""OpenAPI is the contract: schemathesis sends what it allows and what it forbids, with and without a token."""

import subprocess
import sys
from pathlib import Path

import pytest
from autocompress.results.run_directory import write_run
from autocompress.tests.deploy.small_run import small_run
from autocompress.tests.service.served import served

# What is right by the schema and yet refused: names of tasks, targets and arguments that this service does
# not have, and bytes that are no weights. A stream ends with its search, and test_rest.py reads one.
CONFIG = """
[parameters]
"path.search_id" = "{search}"

[[operations]]
include-name = "POST /v1/searches"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 403, 409, 422, 429]

[[operations]]
include-name = "PUT /v1/weights/{{digest}}"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 403, 413, 422, 429]
"""


def findings(folder: Path, url: str, token: str) -> str:
    """What schemathesis complains of; empty for nothing."""
    options = ("--checks", "all", "--phases", "coverage,fuzzing", "--max-examples", "5", "--seed", "1")
    command = [
        *(
            f"{Path(sys.executable).with_name('schemathesis')}",
            "--config-file",
            f"{folder}/schemathesis.toml",
        ),
        *("run", f"{url}/v1/openapi.json", "-H", f"Authorization: Bearer {token}", *options),
        *("--exclude-path-regex", "events", "--request-timeout", "20", "--continue-on-failure", "--no-color"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    return "" if done.returncode == 0 else done.stdout[done.stdout.find("FAILURES") :] + done.stderr


@pytest.mark.slow
def test_no_request_of_the_schema_or_against_it_finds_a_fault_of_the_service(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    with served(data) as site:
        token = site.token("root", "admin")
        search = site.ask("POST", "/v1/searches", {"trials": 3}, token=token).json["id"]
        folder = site.service.runs / search
        folder.mkdir(parents=True)
        (folder / "run.toml").touch()
        write_run(folder, small_run(folder))
        (tmp_path / "schemathesis.toml").write_text(CONFIG.format(search=search))
        said = findings(tmp_path, site.url, token)
    assert not said, said
