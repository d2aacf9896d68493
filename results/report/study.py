"""A run as an Optuna study for people, such as in optuna-dashboard. The search's own study.db is for the
search: its values are normalized, its parameters are indices.

Values are the drop in points (or in the metric's unit) and ratios to the original; parameters are the
channels that each group keeps and the precision of each layer; what else is known are user attributes.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...compress.recipe import BITS
from ...files import replacing
from ...text.printable import printable, printable_strings
from ..formats import Formats, label_of
from ..pick import cost_of
from ..records.point import Failure, Point
from ..records.run import Run
from ..view import RunOn, views_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


def write_study(run: Run, path: Path) -> None:
    """Writes the study as a journal of Optuna, in place of one that is there: an SQLite file takes 100 times
    as long. With several targets values are the worst of all.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    formats, front = Formats.of(run), {point.trial for point in run.front}
    with replacing(path) as part:
        storage = JournalStorage(JournalFileBackend(str(part)))
        study = optuna.create_study(storage=storage, study_name=study_name(run), directions=["minimize"] * 3)
        unit = "pp" if formats.fraction else run.facts.task.metric.name
        with warnings.catch_warnings():  # metric names are an experimental feature of Optuna
            warnings.simplefilter("ignore")
            study.set_metric_names([f"drop ({unit})", "size (ratio)", "latency (ratio)"])
        study.set_user_attr("command", printable(run.facts.command))
        study.set_user_attr("front", sorted(front))
        study.add_trials([*_trials(run, formats.quality_scale, front)])


def study_name(run: Run) -> str:
    """`resnet20 on cpu`."""
    return printable(f"{run.facts.task.name} on {', '.join(run.target_names)}")


def _trials(run: Run, scale: float, front: set[int]) -> "Iterator[FrozenTrial]":
    """The measured candidates, then the failed ones, each in the order of their numbers."""
    from optuna.trial import TrialState, create_trial

    distributions = dict(_distributions(run))
    for point in sorted(run.points, key=lambda point: point.trial):
        if run.complete(point):
            _, size, latency = run.vector(point)
            yield create_trial(
                state=TrialState.COMPLETE,
                values=[cost_of(run, point, "drop") / scale, size, latency],
                params=_parameters(run, point),
                distributions=distributions,
                user_attrs=_attributes(run, point, on_front=point.trial in front),
            )
    for failure in run.failures:
        yield create_trial(state=TrialState.FAIL, user_attrs=_failure(failure))


def _distributions(run: Run) -> "Iterator[tuple[str, BaseDistribution]]":
    from optuna.distributions import CategoricalDistribution, IntDistribution

    for group in run.facts.groups:
        yield _channels_of(group.name, group.channels), IntDistribution(0, group.channels)
    for layer in run.facts.layers:
        yield f"{layer.name}: precision", CategoricalDistribution(tuple(BITS))
    yield "removed blocks", IntDistribution(0, 10_000)
    yield "training steps", IntDistribution(0, 1_000_000_000)


def _parameters(run: Run, point: Point) -> dict[str, Any]:
    recipe, facts = point.recipe, run.facts
    channels = {
        _channels_of(group.name, group.channels): recipe.keep.get(group.name, group.channels)
        for group in facts.groups
    }
    precisions = {
        f"{layer.name}: precision": recipe.precision.get(layer.name, "float32") for layer in facts.layers
    }
    steps = recipe.recovery.steps if recipe.recovery else 0
    return channels | precisions | {"removed blocks": len(recipe.skip), "training steps": steps}


def _channels_of(group: str, channels: int) -> str:
    return f"{group}: channels (of {channels})"


def _attributes(run: Run, point: Point, *, on_front: bool) -> dict[str, Any]:
    """What `front` shows of a point, by target where there are several."""
    values: dict[str, Any] = {"trial": point.trial, "what": label_of(point, run), "on the front": on_front}
    views = [view for view in views_of(run) if view.target.name in point.measured]
    for view in views:
        of_target = f" on {view.target.name}" if len(run.target_names) > 1 else ""
        values |= {f"{name}{of_target}": text for name, text in _numbers(view, point).items()}
    widths = {group.name: group.channels for group in run.facts.groups}
    if point.recipe.keep:
        counts = (f"{name}: {count} of {widths.get(name, '?')}" for name, count in point.recipe.keep.items())
        values["channels"] = ", ".join(counts)
    if point.recipe.skip:
        values["blocks removed"] = ", ".join(point.recipe.skip)
    if point.recipe.fused:
        values["fused"] = "what the runtime has one kernel for is one node"
    if point.recipe.used_rows:
        values["tables"] = "without unused rows"
    if point.recipe.resolution:
        values["images"] = "resized to {} × {}".format(*point.recipe.resolution)
    if point.recipe.rank:
        values["ranks"] = ", ".join(f"{layer} {rank}" for layer, rank in point.recipe.rank.items())
    return {printable(name): printable_strings(value) for name, value in values.items()}


def _numbers(view: RunOn, point: Point) -> dict[str, str]:
    formats, there = Formats.of(view), view.on(point)
    return {
        "quality": formats.quality_of(there),
        "drop": formats.drop_of(there),
        "latency": formats.latency_of(there),
        "size": formats.size_of(there),
    }


def _failure(failure: Failure) -> dict[str, Any]:
    return {
        "trial": failure.trial,
        "failed in": failure.stage,
        "kind": failure.kind,
        "message": printable(failure.message),
    }
