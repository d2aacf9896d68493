"""SearchState: what a search has measured so far, and the Run that this makes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ..profiles import Environment
from ..results.records.facts import RunFacts
from ..results.records.originals import InTurns
from ..results.records.point import Failure, Point
from ..results.records.progress import SearchFacts, Stopped
from ..results.records.run import Run, Status, Vector
from .looks import Look, LookKey, with_looks

WORTH = "worth"  # the name of the constraint that keeps samplers away from useless models


@dataclass(slots=True, kw_only=True)
class SearchState:
    """Points as they were measured, in order of their ends, the original first; and what belongs to them.

    `looks` are the finalists' (Finalists adds to the same mapping), `in_turns` how the original's latencies
    compare (Originals adds to it). `search` is what the strategy tells of
    its work, `least` how many points front.json had when the session began. `judge` makes of a run what the
    strategy goes by. Whoever changes a list or mapping here calls `changed`; the methods do it themselves.
    """

    facts: RunFacts
    uniform_digest: str
    looks: Mapping[LookKey, Look] = field(default_factory=dict)
    in_turns: Mapping[str, InTurns] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    stopped: list[Stopped] = field(default_factory=list)
    screened: int = 0
    least: int = 0
    search: SearchFacts = field(default_factory=SearchFacts)
    judge: Callable[[Run], Run] | None = None
    _run: Run | None = None
    _judged: Run | None = None

    @property
    def run(self) -> Run:
        """All of it as a Run, points with their latest measurements. There must be the original."""
        if self._run is None:
            self._run = self.run_as("running", elapsed_s=0.0)
        return self._run

    @property
    def judged(self) -> Run:
        """The run that the strategy goes by: the same, with estimates where candidates were stopped, or with
        latencies that no clock decides.
        """
        if self.judge is None and not self.stopped:
            return self.run
        if self._judged is None:
            self._judged = self._with_estimates() if self.judge is None else self.judge(self.run)
        return self._judged

    def _with_estimates(self) -> Run:
        """The run with the candidates that were stopped, by what is known of them."""
        run = self.run
        estimated = (self._estimate(stopped) for stopped in self.stopped)
        return replace(run, points=(*run.points, *estimated), stopped=())

    def objectives(self, point: Point) -> "Objectives":
        """What a study is told of one of the points."""
        run = self.judged
        return Objectives.of(run, point if self.judge is None else run.point(point.trial))

    def run_as(self, status: Status, *, elapsed_s: float, look_failures: tuple[Failure, ...] = ()) -> Run:
        """The same, with what is known only when it is written."""
        points = tuple(with_looks(point, self.points[0], self.looks) for point in self.points)
        uniform = (point.trial for point in points if point.recipe.digest == self.uniform_digest)
        return Run(
            facts=self.facts,
            points=points,
            uniform_trial=next(uniform, None),
            status=status,
            elapsed_s=elapsed_s,
            screened=self.screened,
            stopped=tuple(self.stopped),
            failures=(*self.failures, *look_failures),
            search=self.search,
            in_turns=dict(self.in_turns),
        )

    def changed(self) -> None:
        """To be called when points or looks were changed from outside."""
        self._run = self._judged = None

    def add(self, point: Point) -> None:
        """A measured candidate."""
        self.points.append(point)
        self.changed()

    def stop(self, stopped: Stopped) -> Point:
        """A candidate that lost its race; the point that the strategy goes by."""
        self.stopped.append(stopped)
        self.changed()
        return self._estimate(stopped)

    def _estimate(self, stopped: Stopped) -> Point:
        return stopped.estimated(self.points[0], better=self.facts.task.metric.direction)

    def fail(self, failure: Failure) -> None:
        """A candidate that has no measurement."""
        self.failures.append(failure)
        self.changed()

    def tell(self, search: SearchFacts) -> None:
        """What the strategy tells of its own work."""
        self.search = search
        self.changed()

    def take_over(self, before: Run) -> None:
        """What the last session told of its work, and the environments of targets that are away now."""
        self.search, self.least = before.search, len(before.points)
        here = {target.name for target in self.facts.targets if target.environment is not None}
        earlier: dict[str, Environment] = {}
        for target in before.facts.targets:
            if target.environment is not None and target.name not in here:
                earlier[target.name] = target.environment
        self.learn_environments(earlier)
        self.changed()

    def learn_environments(self, environments: Mapping[str, Environment]) -> None:
        """The environments of targets by name; one that was away brings its own when it comes back."""
        targets = tuple(
            replace(target, environment=environments.get(target.name, target.environment))
            for target in self.facts.targets
        )
        if targets != self.facts.targets:
            self.facts = replace(self.facts, targets=targets)
            self.changed()


@dataclass(frozen=True, slots=True, kw_only=True)
class Objectives:
    """What a study is told of a candidate: values to minimize, and constraints by name, broken above 0."""

    values: Vector
    constraints: Mapping[str, float]

    @classmethod
    def of(cls, run: Run, point: Point) -> "Objectives":
        """The point's worst numbers of all targets; the user's limits, and a drop inside the objective space.

        The latter keeps samplers away from models that are tiny and useless, which nothing dominates.
        """
        values = run.vector(point)
        limits = [limits.drop for limits in run.limits.values() if limits.drop is not None]
        worth = max([run.drop_scale, *limits])
        constraints = {name: excess.relative for name, excess in run.excess(point).items()}
        return cls(values=values, constraints={**constraints, WORTH: values[0] - worth / run.drop_scale})


def affordable(run: Run, point: Point) -> bool:
    """Whether the point breaks no limit but that of the drop, which training may mend."""
    return all(excess.value <= 0 for name, excess in run.excess(point).items() if name != "drop")


def clearly_loses(run: Run, point: Point) -> bool:
    """Whether the drop can be told apart from none on any target; so it can where there is no interval."""
    intervals = [outcome.drop_interval for outcome in run.measured(point).values()]
    return any(interval is None or interval[0] > 0 for interval in intervals)
