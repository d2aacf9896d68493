"""A compressor and targets that answer at once, and an evaluator with them."""

import hashlib
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import torch
from autocompress.compress.artifact import Artifact
from autocompress.compress.compressor import BuildResult, BuiltFile
from autocompress.compress.onnx_file.check import OutputCheck
from autocompress.compress.options import FileFormat
from autocompress.compress.recipe import Recipe
from autocompress.evaluation.answers import Examiner
from autocompress.evaluation.availability import Availability, Patience
from autocompress.evaluation.bench import Bench
from autocompress.evaluation.evaluate import Evaluator
from autocompress.evaluation.stored_split import StoredSplit
from autocompress.profiles import SEARCH_TIMING
from autocompress.tasks.task import accuracy
from autocompress.tests.explore.fakes import METRIC, PROFILE, FakeNetwork

OUTPUTS, TARGETS = np.eye(4, dtype=np.float32), torch.arange(4)
OTHER_FORMAT = FileFormat(opset=22)


class FakeCompressor:
    """Writes a file of each of two formats; raises the `errors` first."""

    def __init__(self, *errors, other=OTHER_FORMAT):
        self.errors, self.other, self.builds, self.ending = list(errors), other, 0, ".onnx"

    def build(self, recipe, out_dir, *, progress=None, formats=None):
        self.builds += 1
        if self.errors:
            raise self.errors.pop(0)
        files = {
            FileFormat(): self._file(recipe.digest, out_dir),
            self.other: self._file(f"{recipe.digest}-22", out_dir),
        }
        return BuildResult(by_format=files, seconds={"build": 0.1})

    def _file(self, content, out_dir):
        digest = hashlib.sha256(content.encode()).hexdigest()
        path = Path(out_dir) / f"{digest}{self.ending}"
        path.write_text(content)
        artifact = Artifact(path=path, digest=digest, size_bytes=5, macs=1, parameters=1, precision={})
        check = OutputCheck(inputs=(np.zeros((4, 1)),), expected=(OUTPUTS,), tolerance=1e-3)
        return BuiltFile(artifact=artifact, check=check)


class FakeTarget:
    """Answers `outputs`, and measures `ratio` once its `errors` are through (None is a success before)."""

    def __init__(self, profile=PROFILE, ratio=0.5, *errors, outputs=OUTPUTS, executed="float32"):
        self.profile, self.ratio, self.errors = profile, ratio, list(errors)
        self.outputs, self.executed, self.asked = outputs, executed, 0

    @contextmanager
    def session(self):
        yield self

    def run(self, model, inputs, *, batch, exact=False):
        self.asked += 1
        return (self.outputs,)

    def running_batch(self, batch, *, measured):
        return batch

    def executed_precision(self, model, layers, *, batch):
        return {"layer0": self.executed}

    def profile_layers(self, model, layers, *, batch):
        return None

    def measure(self, model, baseline, timing):
        if self.errors and (error := self.errors.pop(0)):
            raise error
        return SimpleNamespace(loop_s=0.0, ratio=self.ratio)


class FakeSplit:
    """A split of which only the folder's name and the targets are read."""

    samples = batch = len(TARGETS)

    def __init__(self, inputs):
        self.inputs = inputs

    def answered(self, session, model, *, batch, low=0, high=0):
        yield session.run(model, self.inputs, batch=batch), TARGETS


def stored_split(inputs: Path) -> StoredSplit:
    """A split that runs no model."""
    return cast(StoredSplit, FakeSplit(inputs))


def make_evaluator(folder, *targets, compressor=None, metric=None, network=None):
    """An evaluator on these targets, which waits for none; `Latency.of` must be replaced."""
    split = stored_split(folder / "validation")
    examiner = Examiner(
        network=network or FakeNetwork(),
        metric=metric or replace(METRIC, function=accuracy),
        validation=split,
        measured_batch=1,
    )
    bench = Bench(
        compressor=compressor or FakeCompressor(),
        targets=targets or (FakeTarget(),),
        examiner=examiner,
        artifacts=folder,
        timing=SEARCH_TIMING,
        availability=Availability(),
    )
    return Evaluator(bench=bench, elapsed=lambda: 12.0, patience=Patience(limit_s=0.0))


def evaluated(subject, recipe=None, *, trial=0, baseline=None):
    """What the evaluator says of the recipe."""
    return subject.evaluate(trial, recipe or Recipe(), baseline=baseline, progress=lambda text: None)
