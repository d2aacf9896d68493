"""Real nights: searches of a few trials, killed and continued."""

import random
import subprocess
import sys

import pytest
from autocompress.nightly.config_file import read_config
from autocompress.nightly.places import Places
from autocompress.results.run_files import read_run

# what is measured may differ as it likes on a busy machine: other tests are about that
CONFIG = """[tolerance]
latency = "99%"
runtime = "99%"
[model.digits]
task = "digits"
trials = 4
recovery = false
max_drop = "5pp"
policies = ["fastest within 5pp"]
"""


def call(folder, *, kill_after_s: float | None = None) -> int | None:
    """The exit code of one call, None where it was killed."""
    words = [sys.executable, "-m", "autocompress.tests.nightly.night_process", "nightly.toml"]
    process = subprocess.Popen(words, cwd=folder)
    try:
        return process.wait(kill_after_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_killed_night_goes_on_and_does_nothing_twice(tmp_path):
    (tmp_path / "nightly.toml").write_text(CONFIG)
    code = None
    for _ in range(3):
        code = call(tmp_path, kill_after_s=random.uniform(3, 30))
        if code is not None:
            break
    if code is None:
        code = call(tmp_path)
    places = Places(folder=read_config(tmp_path / "nightly.toml").folder)
    (night,) = places.read_nights()
    (model,) = night.models
    assert (code, night.status, model.state, len(model.steps)) == (0, "finished", "done", 5)
    assert len(places.read_deployed("digits").versions) == 1
    assert (places.link("digits") / "run.py").is_file()
    assert call(tmp_path) == 0
    second = places.read_nights()[-1].models[0]
    assert (second.reference, len(second.checks)) == (night.name, 1)
    assert second.checks[0].ratio is not None
    first_run, second_run = (read_run(places.folder / str(one.run)) for one in (model, second))
    assert (
        f"--from {places.folder / str(model.run)}"
        in places.log(places.read_nights()[-1].name, "digits").read_text()
    )
    front = {point.recipe.digest for point in first_run.front if point.trial > 1}
    assert front and front <= {point.recipe.digest for point in second_run.points}
