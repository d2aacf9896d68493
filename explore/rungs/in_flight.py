"""InFlight: the trials of a search that are built beside it, and what becomes of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from optuna.trial import Trial

from ...compress.recipe import Recipe
from ...errors import StageError
from ...results.records.point import Failure
from ..beside.builders import Builders, Ready
from ..screen import Screened
from ..trials import Trials

GRACE_SHARE = 0.03  # of the budget, in which what is built beside the search may still end
GRACE_S = 60.0  # of a recovery, where there is no budget


@dataclass(frozen=True, slots=True)
class Flight:
    """A trial that is built beside the search, since when."""

    trial: Trial
    recipe: Recipe
    since_s: float


@dataclass(slots=True, kw_only=True)
class InFlight:
    """The trials that `builders` build. `measure` builds and measures a trial here, `learn` is called after
    one was measured, `forget` after one failed.
    """

    trials: Trials
    builders: Builders | None
    measure: Callable[[Trial, Recipe], None]
    learn: Callable[[], None]
    forget: Callable[[Recipe], None]
    _flights: dict[str, Flight] = field(default_factory=dict)

    @property
    def busy(self) -> bool:
        """Whether anything is built beside the search."""
        return bool(self._flights)

    @property
    def count(self) -> int:
        """How many are built beside the search."""
        return len(self._flights)

    @property
    def recipes(self) -> Iterator[Recipe]:
        """What is being built."""
        return (flight.recipe for flight in self._flights.values())

    @property
    def _room(self) -> bool:
        """Whether those in work leave any of the trials that were asked for."""
        return self.trials.time_left(more=len(self._flights))

    def takes_recovery(self) -> bool:
        """Whether a recovery can begin. One of several slots is left to candidates that are only built."""
        builders = self.builders
        if builders is None:
            return False
        reserved = 0 if builders.only_recoveries or builders.slots < 2 else 1
        return builders.free > reserved and (builders.only_recoveries or self._room)

    def takes_build(self) -> bool:
        """Whether a candidate can be built elsewhere."""
        builders = self.builders
        return builders is not None and not builders.only_recoveries and builders.free > 0 and self._room

    def start(self, trial: Trial, recipe: Recipe) -> None:
        """Begins to build a trial."""
        assert self.builders is not None
        self.trials.tried.add(recipe.digest)
        self._flights[recipe.digest] = Flight(trial, recipe, self.trials.elapsed_s)
        self.builders.start(recipe)

    def collect(self, *, wait_s: float = 0.0) -> None:
        """Measures a candidate that is ready, if there is one."""
        if self.builders is None:
            return
        with self.trials.interruptible():
            ready = self.builders.poll(wait_s=wait_s)
        if ready is not None:
            self._arrived(self._flights.pop(ready.recipe.digest), ready)

    def _arrived(self, flight: Flight, ready: Ready) -> None:
        trials, result = self.trials, ready.result
        if result is None:  # nobody is left who builds
            self.measure(flight.trial, flight.recipe)
            return
        if isinstance(result, StageError):
            trials.ledger.add_beside({result.stage: trials.elapsed_s - flight.since_s})
            trials.fail(flight.trial, flight.recipe, Failure.of(result, trial=flight.trial.number))
            self.forget(flight.recipe)
            return
        trials.ledger.add_beside(result.seconds)
        if trials.evaluate(flight.trial, flight.recipe, built=result) is not None:
            self.learn()
        else:
            self.forget(flight.recipe)

    def finish(self) -> None:
        """Waits a moment for what is nearly done; without a budget as long as candidates are built that are
        not trained. What does not end counts as out of time.
        """
        if self.builders is None or not self._flights:
            return
        trials, total_s = self.trials, self.trials.budget.total_s
        end_s = trials.elapsed_s + (GRACE_S if total_s is None else GRACE_SHARE * total_s)
        while self._flights and (trials.elapsed_s < end_s or (total_s is None and self._only_builds())):
            trials.stage(f"waiting for what is built beside: {self.builders.stage}")
            self.collect(wait_s=0.5)
        flights, self._flights = list(self._flights.values()), {}
        if flights:
            self.builders.cancel()
        for flight in flights:
            what = "build" if flight.recipe.recovery is None else "recovery"
            late = Screened(reason="time", message=f"its {what} did not end in time")
            trials.screen_out(flight.trial, late)

    def _only_builds(self) -> bool:
        return all(recipe.recovery is None for recipe in self.recipes)

    def release(self) -> None:
        """On Ctrl-C: leaves what is being built to the next session."""
        for flight in self._flights.values():
            self.trials.release(flight.trial)
