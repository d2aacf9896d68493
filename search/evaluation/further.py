"""A candidate on the further targets of a search: measured there, after the primary target, without
compressing it again.

What fails on a further target is *missing* there: the candidate stays measured on the others, and `catch_up`
tries again later. A target that is away (availability.py) is not asked for every candidate: what it should
have measured is missing, or *queued*. That goes for the original, too, and then for everything on that
target, since nothing can be compared without it; if it fails there for another reason, that is an error.
"""

import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from ...compress.compressor import BuildResult
from ...compress.options import FileFormat
from ...errors import StageError, TargetUnavailable
from ...profiles import Profile
from ...results.evaluation import Evaluation
from ...results.on_target import OnTarget
from ...results.records import Answers, ArtifactFacts, Failure
from .availability import is_away
from .predicted import AnyTarget, PredictedTarget, latency_on

if TYPE_CHECKING:
    from .evaluate import Evaluator

Say = Callable[[str], None]


def format_of(profile: Profile) -> FileFormat:
    """What the profile decides about an artifact's file."""
    return FileFormat(opset=profile.opset, activations=profile.activations, int8_weights=profile.int8_weights)


def on_further_targets(
    evaluator: "Evaluator",
    evaluation: Evaluation,
    build: BuildResult,
    *,
    baseline: Evaluation | None,
    progress: Say,
) -> Evaluation:
    """The evaluation with what the candidate is on every further target. `baseline` is None for the original
    itself.

    Raises StageError when the original cannot be measured on one of them that is there.
    """
    found: dict[str, OnTarget] = {}
    seconds = dict(evaluation.seconds)
    for target in evaluator.further:
        start, name = time.perf_counter(), target.profile.name
        progress(f"measuring on {name}")
        own = build.further.get(format_of(target.profile), build)
        known = _known_answers(evaluator, replace(evaluation, further=found), target, own.artifact.digest)
        facts = ArtifactFacts.of(own.artifact)
        found[name] = _on_target(
            evaluator, target, evaluation, facts, answers=known, build=own, baseline=baseline
        )
        seconds[f"on {name}"] = time.perf_counter() - start
    return replace(evaluation, further=found, seconds=seconds)


def missing_again(evaluation: Evaluation) -> list[str]:
    """The targets on which the candidate is missing for a reason that may have passed."""
    failures = {name: evaluation.further[name].failure for name in evaluation.missing}
    return [name for name, failure in failures.items() if failure is not None and failure.retryable]


def queued(evaluations: Iterable[Evaluation]) -> dict[str, int]:
    """By further target, how many measurements wait for it; targets without any are left out."""
    return dict(Counter(name for evaluation in evaluations for name in missing_again(evaluation)))


def caught_up(
    evaluator: "Evaluator", evaluation: Evaluation, *, baseline: Evaluation | None, progress: Say
) -> Evaluation:
    """The evaluation, measured where it was missing for a reason that may have passed; what fails again stays
    missing.

    `baseline` is None for the original itself. A target that is away is asked only when that is due.
    """
    found = dict(evaluation.further)
    for target in evaluator.further:
        name = target.profile.name
        if name in missing_again(evaluation) and evaluator.availability.may_ask(name):
            progress(f"trial {evaluation.trial}: measuring on {name}, where it is missing")
            seen = found[name]
            known = _known_answers(
                evaluator, replace(evaluation, further=found), target, seen.artifact.digest
            )
            found[name] = _on_target(
                evaluator, target, evaluation, seen.artifact, answers=known, build=None, baseline=baseline
            )
    return replace(evaluation, further=found)


def answers_key(target: AnyTarget, digest: str) -> Hashable:
    """What decides the answers of an artifact: two targets with equal keys share its metric and its executed
    precisions.
    """
    if isinstance(target, PredictedTarget):
        return digest, "stand-in"
    return digest, target.profile.runtime, tuple(sorted(target.profile.runtime_options.items()))


def _known_answers(
    evaluator: "Evaluator", evaluation: Evaluation, target: AnyTarget, digest: str
) -> Answers | None:
    """What this target or one that answers alike has already answered."""
    wanted = answers_key(target, digest)
    for other in (evaluator.target, *evaluator.further):
        seen = evaluation if other is evaluator.target else evaluation.further.get(other.profile.name)
        if (
            seen is not None
            and seen.validation is not None
            and answers_key(other, seen.artifact.digest) == wanted
        ):
            return Answers(validation=seen.validation, interval=seen.validation_interval, layers=seen.layers)
    return None


def _on_target(
    evaluator: "Evaluator",
    target: AnyTarget,
    evaluation: Evaluation,
    facts: ArtifactFacts,
    *,
    answers: Answers | None,
    build: BuildResult | None,
    baseline: Evaluation | None,
) -> OnTarget:
    """One candidate on one target. Without `build` its file is looked up, or built again."""
    name, availability = target.profile.name, evaluator.availability
    original = None if baseline is None else baseline.on(name)
    subject = replace(evaluation, artifact=facts, further={})
    failure, latency = None, None
    if (
        waiting := _waiting(
            availability.reason(name), name, build, first=baseline is None or original is not None
        )
    ) is not None:
        failure = Failure(
            trial=evaluation.trial, stage="measure", kind="device", message=waiting, retryable=True
        )
        return OnTarget(artifact=facts, failure=failure)
    try:
        path = evaluator.artifact_path(subject)
        reference = path if original is None else evaluator.artifact_path(original)
        with target.session() as session:
            if answers is None:
                again = build or _built_again(evaluator, subject, target)
                answers = evaluator.answers(session, again, evaluation.recipe, seconds={}, target=target)
            latency, _ = latency_on(
                target, session, evaluation.recipe, model=path, baseline=reference, timing=evaluator.timing
            )
        availability.answered(name)
    except (StageError, TargetUnavailable) as error:
        if is_away(error) or (
            baseline is None and build is None
        ):  # an original that is caught up cannot stop the search
            availability.gone(name, str(error))
        elif baseline is None:
            raise _of_the_original(error, name) from error
        failure = _failure(error, trial=evaluation.trial)
    return OnTarget(
        artifact=facts,
        validation=answers.validation if answers else None,
        validation_interval=answers.interval if answers else None,
        drop=_drop(evaluator, answers.validation, original) if answers else None,
        layers=answers.layers if answers else (),
        latency=latency,
        failure=failure,
    )


def _waiting(reason: str | None, name: str, build: BuildResult | None, *, first: bool) -> str | None:
    """Why a measurement is queued without asking the target: nothing to compare with, or a new candidate
    while it is away.
    """
    if not first:
        return f"The original is not measured on '{name}' yet" + (f": {reason}" if reason else ".")
    return reason if build is not None else None


def _built_again(evaluator: "Evaluator", evaluation: Evaluation, target: AnyTarget) -> BuildResult:
    build = evaluator.compressor.build(evaluation.recipe, evaluator.artifacts)
    return build.further.get(format_of(target.profile), build)


def _drop(evaluator: "Evaluator", validation: float, original: Evaluation | None) -> float:
    return 0.0 if original is None else evaluator.metric.drop(validation, baseline=original.validation)


def _failure(error: StageError | TargetUnavailable, *, trial: int) -> Failure:
    if isinstance(error, StageError):
        return Failure.of(error, trial=trial)
    return Failure(trial=trial, stage="measure", kind="device", message=str(error), retryable=True)


def _of_the_original(error: StageError | TargetUnavailable, target: str) -> StageError:
    assert isinstance(error, StageError)  # a target that is unavailable is away
    return StageError(
        f"on target '{target}': {error}", stage=error.stage, kind=error.kind, retryable=error.retryable
    )
