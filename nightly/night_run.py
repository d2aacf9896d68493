"""A night: all models in their order, within the window, each step written down when it is done."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ..errors import AutocompressError
from .commands import Commands
from .config import ModelConfig, NightlyConfig
from .disk import collect
from .places import Places, working_in
from .records.model_night import ModelNight, StepName
from .records.night import Night
from .steps.compare_step import compare
from .steps.deploy_step import deploy
from .steps.search_step import does_not_fit, search
from .steps.turns_step import turns
from .steps.verify_step import verify
from .work import Say, Work

LONGEST = timedelta(hours=20)  # after its beginning a night is continued; later another one begins

_STEPS: tuple[tuple[StepName, Callable[[Work, ModelConfig, ModelNight], ModelNight]], ...] = (
    ("compare", compare),
    ("verify", verify),
    ("in turns", turns),
    ("deploy", deploy),
)
_NEEDS_RUN = ("compare", "deploy")


def run_night(
    config: NightlyConfig,
    *,
    commands: Commands,
    say: Say,
    clock: Callable[[], datetime] = lambda: datetime.now().astimezone(),
) -> Night:
    """The night after all that can be done now was done. It is the one that was interrupted, if there is one.

    InputError when somebody else works in the folder; KeyboardInterrupt leaves a night that the next call
    continues.
    """
    places = Places(folder=config.folder)
    with working_in(places, command="nightly"):
        nights = places.read_nights()
        night = continued(nights, config, clock()) or _new(places, config, clock())
        earlier = tuple(one for one in nights if one.name != night.name)
        began = datetime.fromisoformat(night.began_at)
        work = Work(
            config=config,
            places=places,
            commands=commands,
            earlier=earlier,
            night=night.name,
            began=began,
            say=say,
            clock=clock,
        )
        night = _NightRun(work, night).run()
        collect(places, keep=config.keep)
        return night


def continued(nights: Sequence[Night], config: NightlyConfig, now: datetime) -> Night | None:
    """The last night, if something is left to do in it and it is not too long ago."""
    if not nights or nights[-1].status == "finished":
        return None
    last = nights[-1]
    if now - datetime.fromisoformat(last.began_at) > LONGEST:
        return None
    names = [model.name for model in last.models]
    added = tuple(ModelNight(name=one.name) for one in config.in_order if one.name not in names)
    return replace(last, models=(*last.models, *added), status="running")


def _new(places: Places, config: NightlyConfig, now: datetime) -> Night:
    return Night(
        name=places.new_name(now.astimezone()),
        began_at=now.astimezone(UTC).isoformat(timespec="seconds"),
        models=tuple(ModelNight(name=model.name) for model in config.in_order),
    )


class _NightRun:
    """A night that is worked on; every change of it is written at once."""

    def __init__(self, work: Work, night: Night):
        self._work = work
        self._night = night
        self._tries: dict[str, int] = {}

    def run(self) -> Night:
        """The night after every model had its turns."""
        self._begin()
        turn = 0
        while models := self._left():
            if turn > 0:
                self._rest()
            for model in models:
                self._model(model)
            turn += 1
        self._end()
        return self._night

    def _begin(self) -> None:
        night = replace(self._night, sessions=self._night.sessions + 1)
        if night.sessions > 1:
            sentence = "The night was interrupted, and went on from its last step."
            night = replace(night, events=(*night.events, self._work.event("continued", "note", sentence)))
        self._keep(night)

    def _left(self) -> list[ModelConfig]:
        """The models with something left to do, that had fewer tries in this call than they may have."""
        states = {state.name: state for state in self._night.models}
        most = 1 + self._work.config.retry
        return [
            model
            for model in self._work.config.in_order
            if not states[model.name].finished and self._tries.get(model.name, 0) < most
        ]

    def _rest(self) -> None:
        """Waits before models are tried again, not beyond the window."""
        left_s = self._work.seconds_left
        wait_s = self._work.config.retry_wait_s
        time.sleep(max(0.0, wait_s if left_s is None else min(wait_s, left_s)))

    def _model(self, model: ModelConfig) -> None:
        """One try of a model: every step that is not done."""
        self._tries[model.name] = self._tries.get(model.name, 0) + 1
        state = self._night.model(model.name)
        assert state is not None
        self._work.say(f"{model.name}: {'continuing' if state.steps else 'beginning'}")
        try:
            self._steps(model, state)
        except AutocompressError as error:
            state = self._night.model(model.name) or state
            event = self._work.event("search-failed", "bad", str(error), model=model.name)
            self._put(replace(state, state="failed", events=(*state.events, event)))

    def _steps(self, model: ModelConfig, state: ModelNight) -> None:
        state = self._searched(model, replace(state, state="running"))
        outcome = state.state  # of the search: what follows may be done all the same
        for name, step in _STEPS:
            if state.has_done(name) or (name in _NEEDS_RUN and not state.has_done("search")):
                continue
            state = step(self._work, model, state)
            if not state.has_done(name):  # its target is away
                self._put(state)
                return
            self._put(state)
        self._put(replace(state, state="done" if outcome == "running" else outcome))

    def _searched(self, model: ModelConfig, state: ModelNight) -> ModelNight:
        """The state after the search, which is `running` when it is done."""
        if state.has_done("search"):
            return state
        if does_not_fit(self._work, model):
            sentence = "There was no time left for its search in the night's window."
            event = self._work.event("window", "warning", sentence, model=model.name)
            state = replace(state, state="skipped", events=(*state.events, event))
        else:
            self._work.say(f"{model.name}: searching")
            state = search(self._work, model, state)
        self._put(state)
        return state

    def _end(self) -> None:
        """The night is finished when no target is awaited any more."""
        for state in self._night.models:
            if state.state in ("waiting", "running") and state.name in self._tries:
                self._put(replace(state, state="failed"))
        away = any(not state.finished for state in self._night.models if state.name in self._configured)
        self._keep(
            replace(
                self._night,
                status="waiting" if away else "finished",
                ended_at=None if away else self._work.at,
            )
        )

    @property
    def _configured(self) -> set[str]:
        return {model.name for model in self._work.config.models}

    def _put(self, state: ModelNight) -> None:
        self._keep(self._night.with_model(state))

    def _keep(self, night: Night) -> None:
        self._night = night
        self._work.places.write_night(night)
