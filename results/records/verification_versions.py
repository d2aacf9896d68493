"""Other shapes of a Verification: verify.json of schema versions 1 and 2, and what `verify --json` prints.

`verify --json` still prints version 2, which has the errors and sums that a Verification derives. Version 1
had one target, and its object is the entry of that target.
"""

from dataclasses import asdict
from typing import Any

from .facts import Prediction, environment_from
from .latency import Latency
from .reading import Fields, Unfit
from .verification import SCHEMA_VERSION, AwayTarget, TargetVerification, Verification, VerifiedPoint

_SCRIPTS = 2  # the schema version of what is printed


def read_verification(fields: Fields) -> Verification:
    """What the object of verify.json holds, of any schema version so far."""
    version = fields.whole("schema_version", least=1)
    if version > SCHEMA_VERSION:
        return Verification(at="", targets=(), unread_version=version)
    if version == SCHEMA_VERSION:
        return fields.sealed(Verification.from_json)
    return _of_version_1(fields) if version == 1 else _of_version_2(fields)


def json_for_scripts(verification: Verification) -> dict[str, Any]:
    """What `verify --json` prints."""
    return {
        "schema_version": _SCRIPTS,
        "at": verification.at,
        "targets": [_target_json(target) for target in verification.targets],
        "away": [asdict(target) for target in verification.away],
        "regressed": verification.regressed,
        "skipped": list(verification.skipped),
    }


def _target_json(target: TargetVerification) -> dict[str, Any]:
    error = target.prediction_error
    return {
        "at": target.at,
        "target": {
            "name": target.target,
            "address": target.address,
            "profile_fingerprint": target.profile_fingerprint,
        },
        "environment": target.environment.to_json(),
        "earlier": {
            "target": target.earlier_target,
            "predicted": asdict(target.prediction) if target.prediction else None,
        },
        "batch": target.batch,
        "points": [_point_json(point) for point in target.points],
        "count": error.count,
        "kendall_tau": error.kendall_tau,
        "median_error": error.median,
        "p90_error": error.p90,
        "quality_not_verified": target.quality_not_verified,
        "task_differs": target.task_differs,
        "regressed": target.regressed,
    }


def _point_json(point: VerifiedPoint) -> dict[str, Any]:
    return {
        "trial": point.trial,
        "label": point.label,
        "predicted": point.predicted,
        "earlier_s": point.earlier_s,
        "earlier_ratio": point.earlier_ratio,
        "earlier_interval": point.earlier_interval,
        "latency": point.latency.to_json() if point.latency else None,
        "error": point.error,
        "quality": {
            "earlier": point.earlier_quality,
            "interval": point.earlier_quality_interval,
            "now": point.quality,
        },
        "breaks": list(point.breaks),
        "regressed": list(point.regressed),
    }


def _of_version_1(fields: Fields) -> Verification:
    target = _target(fields)
    return Verification(at=target.at, targets=(target,))


def _of_version_2(fields: Fields) -> Verification:
    fields.value("regressed")  # checked below
    fields.optional("skipped", fields.texts)  # follows from the rest
    made = fields.record(
        lambda: Verification(
            at=fields.text("at"),
            targets=tuple(_target(target) for target in fields.objects("targets")),
            away=tuple(AwayTarget.from_json(target) for target in fields.objects("away")),
        )
    )
    _require_same(fields, "regressed", made.regressed)
    return made


def _target(fields: Fields) -> TargetVerification:
    fields.value("count"), fields.value("regressed")  # checked below
    for key in ("kendall_tau", "median_error", "p90_error"):
        fields.maybe(key, fields.number)
    where, earlier = fields.object("target"), fields.object("earlier")
    name, address, fingerprint = where.record(
        lambda: (where.target("name"), where.text("address"), where.text("profile_fingerprint"))
    )
    earlier_target, prediction = earlier.record(
        lambda: (
            earlier.target("target"),
            earlier.maybe("predicted", lambda key: Prediction.from_json(earlier.object(key))),
        )
    )
    made = fields.record(
        lambda: TargetVerification(
            at=fields.text("at"),
            target=name,
            address=address,
            profile_fingerprint=fingerprint,
            environment=environment_from(fields.object("environment")),
            earlier_target=earlier_target,
            prediction=prediction,
            batch=fields.whole("batch", least=1),
            points=tuple(_point(point) for point in fields.objects("points")),
            quality_not_verified=fields.maybe("quality_not_verified", fields.text),
            task_differs=fields.optional("task_differs", fields.text),
        )
    )
    _require_same(fields, "count", made.prediction_error.count)
    _require_same(fields, "regressed", made.regressed)
    return made


def _point(fields: Fields) -> VerifiedPoint:
    fields.value("predicted")  # checked below
    fields.maybe("error", fields.number)
    metric = fields.object("quality")
    quality, interval, now = metric.record(
        lambda: (
            metric.number("earlier"),
            metric.maybe("interval", metric.interval),
            metric.maybe("now", metric.number),
        )
    )
    made = fields.record(
        lambda: VerifiedPoint(
            trial=fields.whole("trial", least=-(10**9)),
            label=fields.text("label"),
            earlier_s=fields.positive("earlier_s"),
            earlier_ratio=fields.positive("earlier_ratio"),
            earlier_interval=fields.maybe("earlier_interval", fields.interval),
            earlier_quality=quality,
            earlier_quality_interval=interval,
            latency=fields.maybe("latency", lambda key: Latency.from_json(fields.object(key))),
            quality=now,
            breaks=fields.texts("breaks"),
            regressed=fields.texts("regressed"),
        )
    )
    _require_same(fields, "predicted", made.predicted)
    return made


def _require_same(fields: Fields, key: str, derived: int) -> None:
    """Unfit when a stored number or flag is not what the rest of the object says."""
    if fields.value(key) != derived or isinstance(fields.value(key), bool) != isinstance(derived, bool):
        raise Unfit(f"{fields.at(key)} is not what the points say")
