"""A night of two models, killed at random, beside the same night without a kill: are the files the same?

    python benchmarks/night_kills.py DATA [KILLS] [--trials N]

DATA is the folder of the test material (DS-CNN's weights and features); the other model is the built-in
digits. Both searches are deterministic, so that no clock decides what is tried. Each night has a cache folder
of its own. KILLS (2) times the night and everything that it started get SIGKILL, at random moments of the
length that the whole night had, and the command is called again. Prints what differs: candidates by trial,
artifacts, bundles, steps. Needs about 10 minutes of two cores for 4 trials.
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import onnx
from autocompress.benchmarks.same_digests import digests
from autocompress.nightly.places import Places

NETS = Path(__file__).resolve().parent / "edge_nets.py"
CONFIG = """[tolerance]
latency = "99%"
runtime = "99%"
"""
MODEL = """[model.{name}]
task = "{task}"
trials = {trials}
deterministic = true
recovery = false
max_drop = "5pp"
policies = ["smallest within 5pp"]
"""


def main() -> int:
    """Runs both nights and compares them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("kills", type=int, nargs="?", default=2)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw, folder = random.Random(asked.seed), Path(tempfile.mkdtemp(prefix="autocompress-night-"))
    print(f"in {folder}", flush=True)
    began = time.monotonic()
    whole = _prepared(folder / "whole", asked.data, asked.trials)
    code = _call(whole, None)
    length_s = time.monotonic() - began
    print(f"without a kill: {length_s:.0f} s, exit code {code}", flush=True)
    killed = _prepared(folder / "killed", asked.data, asked.trials)
    for _ in range(asked.kills):
        after_s = draw.uniform(0.05, 0.9) * length_s / max(1, asked.kills)
        ended = _call(killed, after_s)
        print(f"{'killed' if ended is None else 'ended'} after {after_s:.0f} s", flush=True)
    print(f"then: exit code {_call(killed, None)}", flush=True)
    return _compared(whole, killed)


def _prepared(folder: Path, data: Path, trials: int) -> Path:
    """A folder with nightly.toml."""
    folder.mkdir(parents=True)
    models = [
        MODEL.format(name="digits", task="digits", trials=trials),
        MODEL.format(name="dscnn", task=f"{NETS}:keywords", trials=trials)
        + f'task_arg = {{ data = "{data.resolve()}" }}\n',
    ]
    (folder / "nightly.toml").write_text(CONFIG + "".join(models))
    return folder


def _call(folder: Path, kill_after_s: float | None) -> int | None:
    """The exit code of one call, None where it and all that it started was killed."""
    words = [sys.executable, "-m", "autocompress", "nightly", "nightly.toml"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    with (folder / "said.txt").open("a") as said:
        process = subprocess.Popen(
            words, cwd=folder, env=environment, stdout=said, stderr=said, start_new_session=True
        )
        try:
            return process.wait(kill_after_s)
        except subprocess.TimeoutExpired:
            for child in [*_below(process.pid), process.pid]:
                os.kill(child, signal.SIGKILL)
            process.wait()
            return None


def _below(parent: int) -> list[int]:
    """The processes that a process started, and those that they started."""
    listed = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [one for child in map(int, listed) for one in (child, *_below(child))]


def _compared(whole: Path, killed: Path) -> int:
    """Prints what differs of two nights; 1 when something does."""
    different = 0
    for name, values in {"whole": whole, "killed": killed}.items():
        places = Places(folder=values / "nightly")
        nights = places.read_nights()
        print(f"{name}: {len(nights)} night, {nights[0].sessions} calls, {nights[0].status}")
    for model in ("digits", "dscnn"):
        seen = [_facts(folder, model) for folder in (whole, killed)]
        for what, value in seen[0].items():
            same = value == seen[1][what]
            different += not same
            print(f"{model:7} {what:34} {'equal' if same else f'DIFFERENT: {value} | {seen[1][what]}'}")
    return 1 if different else 0


def _facts(folder: Path, model: str) -> dict[str, object]:
    """What must not depend on kills."""
    places = Places(folder=folder / "nightly")
    (night,) = places.read_nights()
    state = night.model(model)
    assert state is not None
    assert state.run is not None
    run = places.folder / state.run
    deployed = places.read_deployed(model)
    bundles = sorted(path.name for path in places.versions(model).iterdir())
    return {
        "candidates and artifacts by trial": digests(run),
        "names of the artifacts on disk": sorted(path.name for path in (run / "artifacts").iterdir()),
        "other files of the run": sorted(path.name for path in run.iterdir()),
        "bundles": bundles,
        "versions in the record": [version.name for version in deployed.versions],
        "artifacts in the record": [version.digest for version in deployed.versions],
        "the model that is deployed": _weights(places.link(model) / "model.onnx"),
        "steps, each once": sorted(step.name for step in state.steps),
    }


def _weights(file: Path) -> str:
    """The digest of a bundle's model without what it says of the measured latency and of its manifest."""
    model = onnx.load(file)
    del model.metadata_props[:]
    model.ClearField("doc_string")
    return hashlib.sha256(model.SerializeToString()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
