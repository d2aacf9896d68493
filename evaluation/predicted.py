"""PredictedTarget: a target that cannot be used now. Its latencies are computed from recipes, its answers
come from a stand-in.

The stand-in is ONNX Runtime on this machine, or LiteRT for a target with LiteRT, which runs the same file:
quality is that of the file there. What precision the target's runtime would execute, its time by layer and
its memory are not known, and nothing is said of them.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from ..compress.recipe import Recipe
from ..files import digest_of
from ..profiles import Environment, PredictedLatency, Profile, TimingConfig, load_profile
from ..profiles.runtimes import Container
from ..results.records.latency import AnyLatency, Latency, Predicted
from ..targets.pool.boards import Device
from ..targets.target import Target, TargetSession

RUNTIME = "predicted"  # of the environment: what differs from every measured one
# By container of the file; int8 sums of both are exact on every processor.
STAND_INS: Mapping[Container, str] = {"onnx": "cpu-avx2", "tflite": "cpu-litert"}


class LatencyModel(Protocol):
    """What latencies are predicted from. `source` tells a person, `identity` all that decides the numbers (a
    JSON value).

    `error` is how far off (median, relative) it was known to be, None where nobody knows.
    """

    @property
    def source(self) -> str: ...

    @property
    def identity(self) -> Any: ...

    @property
    def error(self) -> float | None: ...

    def seconds(self, recipe: Recipe) -> float:
        """Seconds of one inference of what the recipe leaves."""
        ...


def stand_in(container: Container = "onnx") -> Target:
    """What runs files of a container on this machine: ONNX Runtime, or LiteRT."""
    return Target(load_profile(STAND_INS[container]))


@dataclass(frozen=True, kw_only=True)
class PredictedTarget:
    """The target of `profile` by prediction. Where a Target is asked for answers, this has the stand-in's."""

    profile: Profile
    model: LatencyModel

    @cached_property
    def stand_in(self) -> Target:
        """What runs its files here."""
        return stand_in(self.profile.facts.container)

    @property
    def cores(self) -> tuple[int, ...]:
        """The cores that the stand-in's workers are pinned to."""
        return self.stand_in.cores

    @cached_property
    def environment(self) -> Environment:
        """This machine, and what predicts: unlike any environment that something was measured in."""
        return predicted_environment(self.stand_in.probe(), self.model)

    def probe(self) -> Environment:
        """The environment."""
        return self.environment

    def session(self) -> AbstractContextManager[TargetSession]:
        """A worker process of the stand-in."""
        return self.stand_in.session()

    def close(self) -> None:
        """Nothing is open between sessions."""

    def predict(self, recipe: Recipe) -> Predicted:
        """The predicted latency of what the recipe leaves."""
        seconds, original_s = self.model.seconds(recipe), self.model.seconds(Recipe())
        latency = PredictedLatency(seconds=seconds, source=self.model.source)
        return Predicted(latency=latency, ratio=seconds / original_s, error=self.model.error)


AnyTarget = Device | PredictedTarget


def predicted_environment(host: Environment, model: LatencyModel) -> Environment:
    """The host's environment, its runtime named `predicted`, whose version stands for everything that decides
    the numbers.
    """
    version = f"{digest_of(model.identity)}; answers by {host.runtime} {host.runtime_version}"
    return replace(host, runtime=RUNTIME, runtime_version=version)


def latency_on(
    target: AnyTarget,
    session: TargetSession,
    recipe: Recipe,
    *,
    model: Path,
    baseline: Path,
    timing: TimingConfig,
) -> tuple[AnyLatency, float]:
    """A candidate's latency, and the seconds that its timing loop took: measured in the session, or else
    predicted at once.
    """
    if isinstance(target, PredictedTarget):
        return target.predict(recipe), 0.0
    measurement = session.measure(model, baseline, timing)
    return Latency.of(measurement), measurement.loop_s
