"""Commands that do at once what the real ones do in minutes: for nights of which every number is known.

Only what is measured is made up. Runs, bundles and links are written as the real commands write them.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from autocompress.nightly.commands import Commands, Ended
from autocompress.nightly.config_file import read_config
from autocompress.nightly.night_run import run_night
from autocompress.results.records.run import Run
from autocompress.results.run_config import RunConfig
from autocompress.results.run_files import write_run
from autocompress.tests.nightly.sample_nights import environment
from autocompress.tests.results.sample_run import sample_run

CONFIG = """retry_wait = "1ms"
[model.digits]
task = "digits"
budget = "3m"
policies = ["fastest within 1pp", "smallest within 1pp"]
"""
RATIO = 0.5
SMALL = sample_run(candidates=6)


def latency(ratio: float, *, spread: float = 0.01) -> dict:
    """A latency as `verify --json` prints it."""
    return {
        "latency_s": ratio * 1e-3,
        "interval_s": [ratio * 1e-3 * (1 - spread), ratio * 1e-3 * (1 + spread)],
        "ratio": ratio,
        "ratio_interval": [ratio * (1 - spread), ratio * (1 + spread)],
        "p50_s": 1e-3,
        "p90_s": 1e-3,
        "p99_s": 1e-3,
        "noisy": False,
        "timer": "thread-cpu",
        "pairs": 8,
        "peak_memory_bytes": None,
    }


def verification(ratio: float = RATIO, quality: float = 0.98, *, version: str = "1.23.2", **values) -> dict:
    """What `verify BUNDLE --json` prints of a bundle whose manifest says a ratio of 0.5 and a quality of
    0.98.
    """
    return {
        "environment": environment(version).to_json(),
        "parity": {"error": 0.001, "tolerance": 0.05, "samples": 8},
        "latency": {"stated": {}, "now": latency(ratio)},
        "reference": {"ratio": RATIO, "ratio_interval": [0.99 * RATIO, 1.01 * RATIO]},
        "not_compared": None,
        "quality": {"metric": "accuracy", "stated": 0.98, "now": quality},
        "quality_not_verified": None,
        "task_differs": None,
        "regressed": [],
        **values,
    }


class StandIn(Commands):
    """`runs` gives the run that a search finds, by the task's name. `ends` are exit codes of the next
    commands by their names, `verified` what the next verifications print (the last one for ever).
    """

    def __init__(self, place: Path, run: Callable[[str], Run] = lambda task: SMALL):
        super().__init__(place)
        self.found = run
        self.calls: list[tuple[str, ...]] = []
        self.ends: dict[str, list[int]] = {}
        self.verified: list[dict] = [verification()]

    def run(self, words: Sequence[str], *, log: Path, seconds: float | None = None) -> Ended:
        self.calls.append(tuple(words))
        ends = self.ends.get(words[0])
        code = ends.pop(0) if ends else 0
        printed = {} if code else getattr(self, f"_{words[0]}")(list(words))
        return Ended(
            exit_code=code, output=json.dumps(printed), message=f"it says {code}" * (code != 0), seconds=1.0
        )

    def count(self, command: str) -> int:
        return sum(call[0] == command for call in self.calls)

    def _search(self, words: list[str]) -> dict:
        out = Path(words[words.index("--out") + 1])
        run = self.found(words[1])
        (out / "artifacts").mkdir(parents=True, exist_ok=True)
        for point in run.points:
            for measured in point.measured.values():
                (out / measured.artifact.file).write_text(measured.artifact.digest)
        config = RunConfig(identity={"model": "m", "data": "d"}, options={})
        (out / "run.toml").write_text(config.to_toml())
        write_run(out, run)
        return {"event": "result", "run": str(out)}

    def _pick(self, words: list[str]) -> dict:
        out = Path(words[words.index("--out") + 1])
        out.mkdir()
        (out / "model.onnx").write_text(words[words.index("--trial") + 1])
        return {}

    def _verify(self, words: list[str]) -> dict:
        return self.verified.pop(0) if len(self.verified) > 1 else self.verified[0]


def configured(folder: Path, text: str = CONFIG):
    """The configuration of a text, in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nightly.toml").write_text(text)
    return read_config(folder / "nightly.toml")


def a_night(config, commands: Commands, **values):
    """The night that these commands make."""
    return run_night(config, commands=commands, say=lambda text: None, **values)


def with_environment(run: Run, **changes) -> Run:
    """The run in another environment."""
    (target,) = run.facts.targets
    assert target.environment is not None
    changed = replace(target, environment=replace(target.environment, **changes))
    return replace(run, facts=replace(run.facts, targets=(changed,)))


def with_options(run: Run, **options: str) -> Run:
    """The run of a profile with other runtime options."""
    (target,) = run.facts.targets
    return replace(run, facts=replace(run.facts, targets=(replace(target, runtime_options=options),)))
