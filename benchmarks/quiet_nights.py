"""Nights with real measurements on a machine whose load changes: false alarms, and what is found and named.

    python benchmarks/quiet_nights.py [NIGHTS] [--seed N] [--only KIND]

A tiny network and two smaller ones of it are timed by the project's own protocol, every night anew: in what
stands for the search, for `verify`, and in the second looks. Accuracy is counted on 2,000 samples. A process
beside it burns CPU for random times. After NIGHTS (30) quiet nights, in each of which the exit code should
be 0, come one after the other, each followed by its undoing: half a point less accuracy, an ONNX Runtime
that is 5 % slower and another version, another option of the runtime (weights are packed anew in each
inference), and a board that does not answer. About 20 seconds a night on an idle
machine, two minutes where 2 cores have a load of 8.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
import onnxruntime
from autocompress.compress.recipe import Recipe
from autocompress.errors import AutocompressError, TargetUnavailable
from autocompress.evaluation.targets import load_targets, target_at
from autocompress.files import digest_of_file
from autocompress.nightly.commands import Ended
from autocompress.nightly.records.event import exit_code
from autocompress.nightly.records.night import Night
from autocompress.nightly.steps import turns_step
from autocompress.profiles import FINALIST_TIMING
from autocompress.profiles.measurement import SEARCH_TIMING, TimingConfig
from autocompress.results.limits import Constraints
from autocompress.results.records.facts import RunFacts, RunTarget
from autocompress.results.records.latency import Latency
from autocompress.results.records.point import ArtifactFacts, Measured, Point, Quality
from autocompress.results.records.run import Run
from autocompress.targets.control import patiently
from autocompress.tests.deploy.small_run import TASK
from autocompress.tests.nightly.stand_in import StandIn, a_night, configured, verification
from onnx import TensorProto, helper, numpy_helper

SLOWER = Path(__file__).resolve().parents[1] / "tests/nightly/slower_runtime"
OPTION = "session.disable_prepacking"
WIDTHS = (2048, 1536, 1280)  # hidden units of the original and of two candidates
SAMPLES, INPUTS, CLASSES = 2000, 64, 10
PROFILE = 'inherits = "cpu"\ndescription = "this machine"\n[runtime_options]\n"{option}" = "{value}"\n'
CONFIG = """retry = 0
[model.tiny]
task = "digits"
trials = 3
target = "tiny.toml"
policies = ["fastest within 5pp"]
"""
BURN = """
import random, time
while True:
    end = time.monotonic() + random.uniform(0.1, 4)
    while time.monotonic() < end:
        sum(range(1000))
    time.sleep(random.uniform(0.1, 4))
"""


def main() -> None:
    """Prints a line for each night, and at the end the counts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("nights", type=int, nargs="?", default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[*INJECTED], help="inject this alone")
    asked = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="autocompress-real-nights-"))
    commands = Real(place, random.Random(asked.seed))
    print(f"in {place}", flush=True)
    with _load(), _in_this_process(commands):
        alarms = [_told(commands, f"quiet {number + 1}", (0, "")) for number in range(asked.nights)]
        print(f"{alarms.count(False)} of {asked.nights} quiet nights with a false alarm", flush=True)
        names = [asked.only] if asked.only else [*INJECTED]
        found = {name: _injected(commands, name) for name in names}
    print(f"found and named: {sum(found.values())} of {len(found)}")


INJECTED = {  # the exit code that it must have, and words of the event that names it
    "half a point less": (4, "lost 0.50 pp"),
    "a runtime 5 % slower": (4, "→ 9.9.9"),
    "another option": (4, f"{OPTION} = 0 → {OPTION} = 1"),
    "a board that is away": (3, "could not use its target"),
}


def _injected(commands: "Real", name: str) -> bool:
    """Whether the regression was found and named; a quiet night follows, with everything as it was."""
    with commands.changed(name):
        found = _told(commands, name, INJECTED[name])
    _told(commands, f"after {name}", (0, ""))
    return found


def _told(commands: "Real", name: str, wanted: tuple[int, str]) -> bool:
    """Runs a night, prints what it said, and whether that was what was wanted."""
    began = time.monotonic()
    night: Night = a_night(configured(commands.place, CONFIG), commands)
    code, words = exit_code(night.all_events), " ".join(map(str, night.all_events))
    right = code == wanted[0] and wanted[1] in words
    looks = night.models[0].checks
    ratio = f"{looks[0].ratio:.4f} of {looks[0].stated_ratio:.4f}" if looks and looks[0].ratio else ""
    shown = night.reason if code else ""
    print(
        f"{name:32} {time.monotonic() - began:5.1f} s  exit code {code} {'' if right else 'WRONG'} {ratio} {shown}",
        flush=True,
    )
    if not right:
        print(f"    {words}", flush=True)
    return right


class Real(StandIn):
    """Commands that measure in this process. `lost`: how many of the samples have another label now."""

    def __init__(self, place: Path, draw: random.Random):
        super().__init__(place)
        self.place, self.draw, self.lost, self.host = place, draw, 0, ""
        self.option("0")
        self.files = [_network(place / f"{width}.onnx", width) for width in WIDTHS]
        numbers = np.random.default_rng(0)
        self.inputs = numbers.standard_normal((SAMPLES, INPUTS)).astype(np.float32)
        self.labels = self.answers(self.files[0]).argmax(1)
        arrays: dict[str, Any] = {"0": self.inputs}
        np.savez(place / "inputs.npz", **arrays)

    def option(self, value: str) -> None:
        """Writes the profile with this value of the option."""
        (self.place / "tiny.toml").write_text(PROFILE.format(option=OPTION, value=value))

    @contextmanager
    def changed(self, name: str) -> Any:
        """A block in which something is otherwise."""
        if name == "half a point less":
            self.lost = SAMPLES // 200
        elif name == "another option":
            self.option("1")
        elif name == "a board that is away":
            self.host = "@nobody@127.0.0.1:9"
        else:
            os.environ |= {"PYTHONPATH": f"{SLOWER}:{os.environ.get('PYTHONPATH', '')}", "SLOWER": "0.05"}
        try:
            yield
        finally:
            self.lost, self.host = 0, ""
            self.option("0")
            os.environ.pop("SLOWER", None)
            os.environ["PYTHONPATH"] = os.environ.get("PYTHONPATH", "").replace(f"{SLOWER}:", "")

    def answers(self, file: Path) -> np.ndarray:
        """What ONNX Runtime in this process answers to all samples."""
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, {"x": self.inputs})[0])

    def accuracy(self, answers: np.ndarray) -> float:
        """On the labels of tonight."""
        labels = self.labels.copy()
        right = np.flatnonzero(answers.argmax(1) == labels)[: self.lost]
        labels[right] = (labels[right] + 1) % CLASSES
        return float((answers.argmax(1) == labels).mean())

    def run(self, words: Any, *, log: Path, seconds: float | None = None) -> Ended:
        """As StandIn; a target that cannot be used ends with exit code 3."""
        try:
            return super().run(words, log=log, seconds=seconds)
        except TargetUnavailable as error:
            return Ended(exit_code=3, output="", message=str(error), seconds=1.0)
        except AutocompressError as error:
            return Ended(exit_code=1, output="", message=str(error), seconds=1.0)

    def _search(self, words: list[str]) -> dict:
        (named,) = load_targets(str(self.place / "tiny.toml") + self.host)
        target = target_at(named.profile, named.address)
        original = self.accuracy(self.answers(self.files[0]))
        points = [
            Point(
                trial=trial, recipe=_recipe(trial), outcomes={"tiny": self._measured(target, trial, original)}
            )
            for trial in range(len(self.files))
        ]
        profile = named.profile
        facts = RunTarget(
            name="tiny",
            profile_fingerprint=profile.fingerprint,
            threads=profile.threads,
            runtime=profile.runtime,
            runtime_options=profile.runtime_options,
            batch=1,
            environment=target.probe(),
            constraints=Constraints(),
        )
        run = Run(
            facts=RunFacts(task=TASK, targets=(facts,), command="search", sampler="front", seed=0),
            points=tuple(points),
            status="finished",
        )
        self.found = lambda task: run
        out = Path(words[words.index("--out") + 1])
        printed = super()._search(words)
        for point in run.points:
            there = point.measured["tiny"].artifact
            (out / there.file).write_bytes(self.files[point.trial].read_bytes())
        return printed

    def _measured(self, target: Any, trial: int, original: float) -> Measured:
        file = self.files[trial]
        accuracy = self.accuracy(self.answers(file))
        facts = ArtifactFacts(
            file=f"artifacts/{file.name}",
            digest=digest_of_file(file),
            size_bytes=file.stat().st_size,
            macs=1,
            parameters=1,
        )
        drop = original - accuracy
        half = 1.96 * (max(drop, 1e-4) / SAMPLES) ** 0.5
        return Measured(
            artifact=facts,
            quality=Quality(validation=accuracy),
            drop=drop,
            drop_interval=(drop - half, drop + half) if trial else None,
            latency=_timed(target, file, self.files[0], SEARCH_TIMING),
        )

    def _pick(self, words: list[str]) -> dict:
        out, trial = Path(words[words.index("--out") + 1]), int(words[words.index("--trial") + 1])
        out.mkdir()
        (out / "model.onnx").write_bytes(self.files[trial].read_bytes())
        stated = next(iter(self.found("").point(trial).measured.values()))
        assert isinstance(stated.latency, Latency)
        self.stated = (stated.latency, stated.quality.validation)
        return {}

    def _verify(self, words: list[str]) -> dict:
        file = Path(words[1]) / "model.onnx"
        (named,) = load_targets(words[words.index("--target") + 1])
        target = target_at(named.profile, named.address)
        latency, (stated, quality) = _timed(target, file, self.files[0], FINALIST_TIMING), self.stated
        with target.session() as session:
            (there,) = session.run(file, self.place / "inputs.npz", batch=1)
        here = self.answers(file)
        error = float(np.abs(there - here).max() / np.abs(here).max())
        return {
            **verification(),
            "environment": target.probe().to_json(),
            "parity": {"error": error, "tolerance": 0.05, "samples": SAMPLES},
            "latency": {"stated": {}, "now": _printed(latency)},
            "reference": {"ratio": stated.ratio, "ratio_interval": list(stated.ratio_interval)},
            "quality": {"metric": "accuracy", "stated": quality, "now": self.accuracy(np.asarray(there))},
        }


def _printed(latency: Latency) -> dict[str, Any]:
    value = latency.to_json()
    return {**value, "interval_s": list(latency.interval_s), "ratio_interval": list(latency.ratio_interval)}


def _timed(target: Any, file: Path, baseline: Path, timing: TimingConfig) -> Latency:
    def measure() -> Latency:
        with target.session() as session:
            return Latency.of(session.measure(file, baseline, timing))

    return patiently(measure, lambda text: print(f"    {text}", flush=True))


def _recipe(trial: int) -> Recipe:
    return Recipe(precision={f"layer{trial}": "int8"}) if trial else Recipe()


def _network(file: Path, width: int) -> Path:
    """INPUTS → width → width → CLASSES with ReLU; the first `width` of one set of weights, so that narrower
    networks answer much alike.
    """
    draw = np.random.default_rng(7)
    widest = WIDTHS[0]
    decay = np.exp(-np.arange(widest) / 60).astype(np.float32)
    first = draw.standard_normal((INPUTS, widest)).astype(np.float32) * decay / 8
    last = draw.standard_normal((widest, CLASSES)).astype(np.float32) * decay[:, None]
    middle = np.full((width, width), 1e-3 / width, np.float32) + np.eye(width, dtype=np.float32)
    weights = {"a": first[:, :width], "b": middle, "c": last[:width]}
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["p"]),
        helper.make_node("Relu", ["p"], ["q"]),
        helper.make_node("MatMul", ["q", "b"], ["r"]),
        helper.make_node("MatMul", ["r", "c"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", INPUTS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), file)
    return file


@contextmanager
def _load() -> Any:
    """A block in which a process beside this one burns CPU now and then."""
    burner = subprocess.Popen([sys.executable, "-c", BURN])
    try:
        yield
    finally:
        burner.kill()
        burner.wait()


@contextmanager
def _in_this_process(commands: Real) -> Any:
    """A block in which the runtime of the nights before is this Python without the slow-down."""
    python = commands.place / "python"
    python.write_text(f'#!/bin/sh\nunset SLOWER\nPYTHONPATH= exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)

    def subjects(work: Any, model: Any, state: Any) -> Any:
        bundle = work.places.link("tiny") / "model.onnx"
        if bundle.is_file():
            yield turns_step.Subject(target="tiny", runtime="onnxruntime", model=bundle, batch=1, sizes=None)

    with (
        mock.patch.object(turns_step, "python_with", lambda *_, **__: python),
        mock.patch.object(turns_step, "_subjects", subjects),
    ):
        yield


if __name__ == "__main__":
    main()
