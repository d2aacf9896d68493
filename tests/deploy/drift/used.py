"""A bundle in use: a real one, its run.py imported with the monitor on, and inputs of one's choice."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from autocompress.deploy.bundle import write_bundle
from autocompress.evaluation.sample_statistics import StatisticsFolder
from autocompress.results.view import RunOn
from autocompress.tests.deploy.bundled.program import imported
from autocompress.tests.deploy.small_run import WEIGHT, small_run
from autocompress.tests.deploy.strangers import edit, reseal
from autocompress.tests.present import present

Inputs = Callable[[np.random.Generator], np.ndarray]


def normal(random: np.random.Generator) -> np.ndarray:
    """What calibration had, one sample."""
    return random.standard_normal((1, 4)).astype(np.float32)


def bundle_of(folder: Path, *, samples: int = 1000, statistics: bool = True) -> Path:
    """The bundle of a linear model with 4 inputs and 3 classes, whose claims are of this machine."""
    view = RunOn.of(small_run(folder / "run"), "cpu")
    point, values = view.points[1], np.random.default_rng(1).standard_normal((samples, 4)).astype(np.float32)
    if statistics:
        kept = StatisticsFolder.of_run(folder / "run")
        kept.keep_inputs([(values,)], layout=None)
        answers = present(kept.outputs(point.artifact.digest, samples=len(values)))
        answers.add([values @ (2 * WEIGHT)])
        answers.done()
    write_bundle(point, folder / "run" / point.artifact.file, folder / "bundle", run=folder / "run")
    return folder / "bundle"


def claim(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes the manifest and its checksum."""
    edit(bundle / "manifest.json", change)
    reseal(bundle)


def used(bundle: Path, log: Path, inputs: Inputs = normal, *, count: int = 1500, seed: int = 2) -> list[dict]:
    """The lines of the log after so many inferences, each of which is looked at."""
    script, random = imported(bundle), np.random.default_rng(seed)
    monitor = script.monitor(str(log))
    for _ in range(count):
        monitor.due = 1  # looks at all, however slow the machine is
        script.predict(inputs(random))
    monitor.close()
    script.monitors.clear()
    return [json.loads(line) for line in log.read_text().splitlines()]
