"""front.json of schema version 2, read as a Run; and a fine-tuned point of that version, read as a Point.

Version 2 kept what is derived (front, violations, history, why) and, with several targets, the numbers of the
first one beside an entry `targets` of each point. Everything is read as strictly as version 3; what is
derived is checked for its type and not used. A run of version 2 does not say which targets were away from
the start.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, get_args

from .facts import (
    ExclusionFacts,
    GroupFacts,
    LayerFacts,
    Prediction,
    RunFacts,
    RunTarget,
    TaskFacts,
    constraints_from,
    environment_from,
)
from .latency import latency_from_json
from .point import (
    ArtifactFacts,
    Failure,
    FineTuned,
    LayerRow,
    Measured,
    Missing,
    Outcome,
    Point,
    Quality,
    recipe_from,
)
from .progress import Rungs, SearchFacts, SlotSensitivity, TableError
from .reading import Fields, Unfit
from .run import Run, Status


def run_of_version_2(fields: Fields) -> Run:
    """The run that a search of version 2 wrote."""
    return fields.record(lambda: _run(fields))


def _run(fields: Fields) -> Run:
    fields.choice("schema_version", (2,))
    facts = _facts(fields)
    elapsed_s = _elapsed(fields)
    read = partial(_point, targets=facts.target_names, waiting=_waiting(fields), elapsed_s=elapsed_s)
    points: dict[int, Point] = {}
    for entry in [*fields.objects("front"), *fields.objects("dominated")]:
        point = read(entry)
        if point.trial in points:
            raise Unfit(f"{entry.place} has the trial {point.trial}, which is there already")
        points[point.trial] = point
    if points.keys() != elapsed_s.keys():
        raise Unfit("history must have one entry for each point")
    baseline = read(fields.object("baseline"))
    uniform = fields.maybe("uniform_int8", lambda key: read(fields.object(key)))
    if points.get(baseline.trial) != baseline or baseline.trial != next(iter(elapsed_s)):
        raise Unfit("baseline is not the first trial of front and dominated")
    if uniform is not None and points.get(uniform.trial) != uniform:
        raise Unfit(f"uniform_int8 is not the trial {uniform.trial} of front and dominated")
    failures = tuple(Failure.from_json(entry) for entry in fields.objects("failures"))
    screened = _screened(fields, points=len(points), failures=len(failures))
    _skip_derived(fields, facts)
    return Run(
        facts=facts,
        points=tuple(points[trial] for trial in elapsed_s),
        uniform_trial=uniform.trial if uniform else None,
        status=fields.choice("status", get_args(Status)),
        elapsed_s=fields.amount("elapsed_s"),
        screened=screened,
        failures=failures,
        search=_search(fields, facts.target_names[0]),
    )


def point_of_version_2(fields: Fields, targets: tuple[str, ...]) -> Point:
    """The point of a file finetuned/N.json of schema version 1, of a run with these targets."""
    return _point(fields, targets, waiting=frozenset(), elapsed_s={})


def _facts(fields: Fields) -> RunFacts:
    first = _target(fields.object("target"), beside=fields)
    targets: tuple[RunTarget, ...] = (first,)
    if fields.has("targets"):
        targets = tuple(_target(entry, beside=entry) for entry in fields.objects("targets"))
        if not targets or targets[0].name != first.name:
            raise Unfit("targets must begin with the one of the entry target")
    return RunFacts(
        task=TaskFacts.from_json(fields.object("task")),
        targets=targets,
        command=fields.text("command"),
        sampler=fields.text("sampler"),
        seed=fields.whole("seed"),
        layers=tuple(LayerFacts.from_json(entry) for entry in fields.objects("layers")),
        groups=tuple(GroupFacts.from_json(entry) for entry in fields.objects("groups")),
        excluded=tuple(ExclusionFacts.from_json(entry) for entry in fields.objects("excluded")),
    )


def _target(fields: Fields, *, beside: Fields) -> RunTarget:
    """The target of an object whose environment and limits stand in `beside`."""
    limits = beside.object("constraints")
    limits.maybe("max_drop_limit", limits.amount)
    return fields.record(
        lambda: RunTarget(
            name=fields.target("name"),
            profile_fingerprint=fields.text("profile_fingerprint"),
            threads=fields.whole("threads", least=1),
            runtime=fields.text("runtime"),
            runtime_options=fields.each("runtime_options", lambda entries, name: entries.text(name)),
            batch=fields.whole("batch", least=1),
            environment=beside.maybe("environment", lambda key: environment_from(beside.object(key))),
            constraints=constraints_from(limits),
            prediction=Prediction.from_json(fields.object("predicted")) if fields.has("predicted") else None,
        )
    )


def _waiting(fields: Fields) -> frozenset[str]:
    """The targets for which measurements were queued."""
    if not fields.has("queued"):
        return frozenset()

    def count(entries: Fields, name: str) -> int:
        entry = entries.object(name)
        return entry.record(lambda: (entry.whole("count"), entry.text("reason"))[0])

    return frozenset(name for name, number in fields.each("queued", count).items() if number)


def _elapsed(fields: Fields) -> dict[int, float]:
    """By trial, the run's time when it was finished, from the history: in the order of finishing."""
    elapsed_s: dict[int, float] = {}
    for entry in fields.objects("history"):
        trial, seconds = entry.record(partial(_trial_and_seconds, entry))
        if trial in elapsed_s:
            raise Unfit(f"{entry.place} has the trial {trial}, which is there already")
        elapsed_s[trial] = seconds
    return elapsed_s


def _trial_and_seconds(entry: Fields) -> tuple[int, float]:
    entry.amount("hypervolume")
    return entry.whole("trial"), entry.amount("elapsed_s")


def _point(
    fields: Fields, targets: tuple[str, ...], *, waiting: frozenset[str], elapsed_s: Mapping[int, float]
) -> Point:
    def make() -> Point:
        trial = fields.whole("trial", least=-(10**9))
        first = _measured(fields, None)
        outcomes: Mapping[str, Outcome] = {targets[0]: first}
        if len(targets) > 1 or fields.has("targets"):
            outcomes = fields.each(
                "targets",
                lambda entries, name: _outcome(
                    entries.object(name), trial, layers=first.layers, retryable=name in waiting
                ),
            )
        return Point(
            trial=trial,
            recipe=recipe_from(fields.object("recipe")),
            outcomes=outcomes,
            elapsed_s=elapsed_s.get(trial, 0.0),
            seconds=fields.each("seconds", lambda entries, name: entries.amount(name)),
            finetuned=FineTuned.from_json(fields.object("finetuned")) if fields.has("finetuned") else None,
        )

    return fields.record(make)


def _outcome(fields: Fields, trial: int, *, layers: tuple[LayerRow, ...], retryable: bool) -> Outcome:
    """What an entry of `targets` says; its layers are left out where they are those of the point."""
    if fields.has("missing"):
        failure = Failure(
            trial=trial,
            stage="measure",
            kind="device",
            message=fields.text("missing"),
            retryable=retryable,
        )
        fields.choice("latency", (None,))
        return fields.record(
            lambda: Missing(
                artifact=ArtifactFacts.from_json(fields.object("artifact")),
                failure=failure,
                drop=fields.maybe("drop", fields.number),
            )
        )
    return fields.record(lambda: _measured(fields, layers))


def _measured(fields: Fields, layers: tuple[LayerRow, ...] | None) -> Measured:
    """The numbers of one target. `layers` are used when the entry names none."""
    fields.flag("feasible")
    fields.each("violations", lambda entries, name: entries.positive(name))
    fields.numbers("indistinguishable_from")
    fields.texts("warnings")
    if layers is None or fields.has("layers"):
        layers = tuple(LayerRow.from_json(entry) for entry in fields.objects("layers"))
    return Measured(
        artifact=ArtifactFacts.from_json(fields.object("artifact")),
        quality=Quality.from_json(fields.object("quality")),
        drop=fields.number("drop"),
        latency=latency_from_json(fields.object("latency")),
        layers=layers,
        finalist=fields.flag("finalist"),
        other_time_s=fields.maybe("other_time_s", fields.amount),
    )


def _screened(fields: Fields, *, points: int, failures: int) -> int:
    """How many candidates were screened out. Unfit when the other counts are not those of the lists."""
    counts = fields.object("trials")
    stated = counts.record(lambda: tuple(counts.whole(key) for key in ("finished", "failed", "screened")))
    if stated[:2] != (points, failures):
        raise Unfit(f"trials must count {points} finished and {failures} failed ones")
    return stated[2]


def _skip_derived(fields: Fields, facts: RunFacts) -> None:
    """Reads the entries that are derived today, so that they do not count as unknown."""
    for miss in fields.objects("nearest_misses"):
        miss.record(
            lambda miss=miss: (  # type: ignore[misc]
                miss.whole("trial"),
                miss.each("violations", lambda entries, name: entries.positive(name)),
            )
        )
    if fields.has("why"):
        fields.object("why")
    if fields.has("fronts"):
        fronts: Mapping[str, Any] = fields.each("fronts", lambda entries, name: entries.numbers(name))
        if fronts.keys() != set(facts.target_names):
            raise Unfit("fronts must name the targets")


def _search(fields: Fields, target: str) -> SearchFacts:
    """The strategy's facts. Samplers of Optuna have neither sensitivities nor tables nor rungs."""
    if not any(fields.has(name) for name in ("sensitivity", "latency_table", "rungs")):
        return SearchFacts(time=fields.each("time", lambda entries, name: entries.amount(name)))
    return SearchFacts(
        sensitivity=_sensitivity(fields.object("sensitivity")),
        latency_tables={target: TableError.from_json(fields.object("latency_table"))},
        rungs=_rungs(fields.object("rungs")),
        time=fields.each("time", lambda entries, name: entries.amount(name)),
    )


def _sensitivity(fields: Fields) -> dict[str, SlotSensitivity]:
    """By slot, out of one object for each of losses, labels and measured."""

    def make() -> dict[str, SlotSensitivity]:
        labels = fields.each("labels", lambda entries, name: entries.texts(name))
        measured = fields.each("measured", lambda entries, name: entries.flags(name))
        losses = fields.each("losses", lambda entries, name: entries.numbers(name))
        if not losses.keys() == labels.keys() == measured.keys():
            raise Unfit(f"{fields.place} must have losses, labels and measured of the same slots")
        return {
            name: SlotSensitivity(losses=values, labels=labels[name], measured=measured[name])
            for name, values in losses.items()
        }

    return fields.record(make)


def _rungs(fields: Fields) -> Rungs:
    def count(name: str) -> int:
        rung = fields.object(name)
        return rung.record(lambda: rung.whole("count"))

    return fields.record(
        lambda: Rungs(
            counts={name: count(name) for name in ("r0", "r1", "r2", "r3")},
            correlation=fields.each("correlation", lambda entries, name: entries.maybe(name, entries.number)),
        )
    )
