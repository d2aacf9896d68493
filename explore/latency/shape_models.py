"""Building and measuring candidates of which only the shapes count, as fast as a latency table can use them.

Weights are cut and rounded, never reconstructed. Measurements are shorter than those of the search, a worker
process serves several, and no A/A control vouches for them: who learns from one goes by its interval.
"""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ...compress.compressor import Compressor
from ...compress.graph.network import Network
from ...compress.options import CompressorOptions
from ...compress.recipe import Recipe
from ...errors import StageError
from ...evaluation.targets import format_of
from ...files import digest_of_file
from ...profiles.measurement import Measurement, TimingConfig
from ...scratch import temporary_folder
from ...targets.target import Target
from ...targets.transport import Transport
from ...tasks.task import Task
from .features import kernel_class

TIMING = TimingConfig(pairs_min=2, pairs_max=3, pair_s=0.2, warmup_s=0.1, half_width=0.02, max_s=3.0)
PER_WORKER = 10


class ShapeModels:
    """Builds and measures candidates of which only the shapes count, one by one; a context manager."""

    def __init__(
        self,
        task: Task,
        network: Network,
        target: Target,
        *,
        timing: TimingConfig = TIMING,
        cache_dir: Path | None = None,
    ):
        options = CompressorOptions(
            formats=(format_of(target.profile),),
            importance="magnitude",
            reconstruct=False,
            refit_samples=0,
            calibration_samples=32,
            pruned_calibration_samples=8,
            check_samples=1,
        )
        self._compressor = Compressor(task, network, options, cache_dir=cache_dir)
        self._target, self._timing = target, timing
        self._open = ExitStack()
        self._worker: Transport | None = None
        self._served = 0

    def __enter__(self) -> "ShapeModels":
        self._folder = self._open.enter_context(temporary_folder())
        return self

    def __exit__(self, *_: object) -> None:
        self._close_worker()
        self._open.close()

    def measure(self, recipe: Recipe) -> Measurement:
        """The recipe's shapes beside the original's. Raises StageError."""
        baseline = self._baseline
        artifact = self._compressor.build(shapes_of(recipe), self._folder).only.artifact
        try:
            with self._target.measuring():
                return self._target.measure_once(
                    self._next_worker(),
                    artifact.path,
                    baseline,
                    timing=self._timing,
                    digests=(artifact.digest, digest_of_file(baseline)),
                )
        except StageError:
            self._close_worker()
            raise
        finally:
            if artifact.path != baseline:
                artifact.path.unlink()

    @property
    def _baseline(self) -> Path:
        path = self._folder / f"original.{self._target.profile.facts.container}"
        if not path.is_file():
            self._compressor.build(Recipe(), self._folder).only.artifact.path.replace(path)
        return path

    def _next_worker(self) -> Transport:
        """The worker process; a fresh one now and then, because a process can be slow for as long as it
        lives.
        """
        if self._served % PER_WORKER == 0:
            self._close_worker()
        if self._worker is None:
            self._worker = self._target.open_worker()
        self._served += 1
        return self._worker

    def _close_worker(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


def shapes_of(recipe: Recipe) -> Recipe:
    """The recipe that runs the same kernels and is the cheapest to build."""
    return replace(
        recipe,
        precision={name: kernel_class(precision) for name, precision in recipe.precision.items()},
        recovery=None,
    )
