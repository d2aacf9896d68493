"""How `verify` looks at quality: with the validation split of a task, or not at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import TaskError
from ..evaluation.stored_split import StoredSplit
from ..results.records.facts import TaskFacts
from ..targets.session import TargetSession
from ..tasks.boundary import user_code
from ..tasks.identity import task_digest
from ..tasks.load import load_task
from ..tasks.metrics.accumulate import accumulator_of
from ..tasks.plain.plain_task import plain_task
from ..tasks.task import Metric
from .given_task import GivenTask, difference, task_to_load


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """Scores files on the validation split of the task with this digest."""

    metric: Metric
    split: StoredSplit
    digest: str

    def score(self, session: TargetSession, model: Path, *, batch: int) -> float:
        """The metric of a file on the session's target. Raises StageError."""
        accumulator = accumulator_of(self.metric)
        running = session.running_batch(self.split.batch, measured=batch)
        for outputs, targets in self.split.answered(session, model, batch=running):
            accumulator.add(outputs, targets)
        return accumulator.value()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """The scorer, or None and the `reason`. `differs` says how its task differs from that of the search."""

    scorer: Scorer | None
    reason: str | None = None
    differs: str | None = None

    @property
    def inputs(self) -> Path | None:
        """A folder with samples of validation, which latencies are timed with."""
        return self.scorer.split.inputs if self.scorer else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know before anything is measured."""
        if self.reason:
            return (f"Note: quality is not looked at, and inputs are random. {self.reason}",)
        if self.differs:
            return (f"Note: the task is not that of the search: it has {self.differs}.",)
        return ()


def scoring_of(
    facts: TaskFacts, given: GivenTask | None, folder: Path, *, identity: Mapping[str, str]
) -> Scoring:
    """How quality is looked at; samples are written to `folder`. TaskError when the task that the user gives
    cannot be used; one that only the run or manifest names is then left out.
    """
    try:
        named = task_to_load(facts, given)
        task = plain_task(load_task(named.spec, named.arguments))
        with user_code("Reading the data"):
            digest = task_digest(task)
        differs = difference(task, facts, digest=digest, identity=identity)
    except TaskError as error:
        if given is not None:
            raise
        return Scoring(scorer=None, reason=str(error))
    split = StoredSplit(task.validation, folder / "validation", limit=facts.validation_samples)
    return Scoring(scorer=Scorer(metric=task.metric, split=split, digest=digest), differs=differs)
