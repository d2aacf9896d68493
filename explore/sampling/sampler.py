"""FrontSampler: the `front` sampler of a study. The one module here that knows Optuna."""

from collections.abc import Callable, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ..space.problem import Levels
from .proposals import Proposer

ESTIMATED = "estimated"  # user attribute of a trial that was stopped: its values
_FIXED = "fixed_params"  # Optuna's key for the parameters of an enqueued trial


class FrontSampler(BaseSampler):
    """Levels of all slots by a Proposer, everything else (how a candidate is recovered) by TPE.

    `proposer` is called once, before the first proposal: what it needs (sensitivities, latencies) may be
    measured after the study was opened. The study's objectives are (normalized drop, size ratio, latency
    ratio), minimized. Every finished trial is learned from once: its values; its user attribute `kl`, which a
    trial that was pruned after the first rung has too; the estimated values of one that was stopped; and
    whether it was recovered (a space without recovery asks for `recover` too, but never for `learning_rate`).
    Trials whose parameters are not those of the problem's slots are ignored.
    """

    def __init__(self, proposer: Callable[[], Proposer], *, seed: int):
        self._make = proposer
        self._proposer: Proposer | None = None
        self._learned: set[int] = set()
        self._recovery = TPESampler(seed=seed, n_startup_trials=10)
        self._fallback = RandomSampler(seed=seed)

    def proposer(self, study: Study) -> Proposer:
        """The proposer, made on the first use and told every finished trial of the study."""
        if self._proposer is None:
            self._proposer = self._make()
            for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
                self._learn(trial, trial.state, trial.values if trial.state == TrialState.COMPLETE else None)
        return self._proposer

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The slots' parameters."""
        return {slot.name: IntDistribution(0, slot.levels - 1) for slot in self.proposer(study).problem.slots}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """One proposal; none for an enqueued trial that brings its levels. Without any left, levels at
        random.
        """
        fixed = trial.system_attrs.get(_FIXED, {})
        if search_space.keys() <= fixed.keys():
            return {}
        proposer = self.proposer(study)
        levels = proposer.propose()
        if levels is None:
            return {
                name: self._fallback.sample_independent(study, trial, name, distribution)
                for name, distribution in search_space.items()
            }
        return dict(proposer.problem.parameters(levels))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A parameter that is no slot's, by TPE."""
        return self._recovery.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Nothing of its own; TPE may have."""
        self._recovery.before_trial(study, trial)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Learns from a trial that ends, unless the proposer was not made yet: it will be told then."""
        self._recovery.after_trial(study, trial, state, values)
        if self._proposer is not None:
            self._learn(trial, state, values)

    def correct(self, before: FrozenTrial, values: Sequence[float]) -> None:
        """Takes other values for those of a trial that was learned from, as it was; one that was not will be
        read as it is then.
        """
        levels = None if self._proposer is None else _levels(self._proposer, before)
        if self._proposer is not None and levels is not None and before.values is not None:
            self._proposer.correct(levels, before=before.values, after=values)

    def reseed_rng(self) -> None:
        """Gives the samplers of single parameters new seeds; proposals are not for parallel use."""
        self._recovery.reseed_rng()
        self._fallback.reseed_rng()

    def _learn(self, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        proposer = self._proposer
        assert proposer is not None
        if trial.number in self._learned or state not in (TrialState.COMPLETE, TrialState.PRUNED):
            return
        levels = _levels(proposer, trial)
        if levels is None:
            return
        self._learned.add(trial.number)
        vector = values if state == TrialState.COMPLETE else trial.user_attrs.get(ESTIMATED)
        recovered = "learning_rate" in trial.params
        proposer.observe(
            levels,
            loss=trial.user_attrs.get("kl"),
            vector=vector,
            recovered=recovered and vector is not None,
        )


def _levels(proposer: Proposer, trial: FrozenTrial) -> Levels | None:
    """The trial's levels, or None when it lacks one or has one out of range."""
    problem = proposer.problem
    try:
        levels = problem.levels_of(trial.params)
    except (KeyError, TypeError, ValueError):
        return None
    inside = all(0 <= level < slot.levels for level, slot in zip(levels, problem.slots, strict=True))
    return levels if inside else None
