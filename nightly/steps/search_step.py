"""The search of one model in one night: its command, and what came of it."""

import time
from dataclasses import replace
from pathlib import Path

from ...errors import RunDirectoryError
from ...profiles.units import parse_budget
from ...results.run_files import read_run
from ...results.run_lock import holder
from ..commands import BAD_INPUT, UNAVAILABLE, option_words
from ..config import ModelConfig
from ..records.model_night import ModelNight, Step
from ..records.night import Night
from ..work import Work, task_words

_ORPHAN_S = 1800.0  # how long a search is waited for whose night was killed


def search_words(model: ModelConfig, run: Path, warm_start: Path | None) -> list[str]:
    """The words of `autocompress search` for a model."""
    options = {
        "--target": model.target,
        "--out": run,
        "--budget": model.budget,
        "--trials": model.trials,
        "--max-drop": model.max_drop,
        "--from": warm_start,
        "--batch": None if model.batch == 1 else model.batch,
        "--sampler": None if model.sampler == "front" else model.sampler,
        "--seed": model.seed or None,
        "--max-latency": model.max_latency,
        "--max-size": model.max_size,
        "--max-energy": model.max_energy,
        "--shape": model.shapes,
        "--validation-samples": model.validation_samples,
        "--deterministic": model.deterministic,
        "--no-recovery": not model.recovery,
        "--memory": model.memory,
        "--device": None if model.device == "auto" else model.device,
        "--ray": model.ray or None,
        "--allow-predicted": model.allow_predicted,
        "--set-clocks": model.set_clocks,
    }
    return ["search", *task_words(model, option=False), *option_words(options), "--json"]


def reference_of(earlier: tuple[Night, ...], model: str) -> tuple[Night, ModelNight] | None:
    """The last night in which the search of a model was done, None in the first one."""
    for night in reversed(earlier):
        there = night.model(model)
        if there is not None and there.run is not None and there.has_done("compare"):
            return night, there
    return None


def does_not_fit(work: Work, model: ModelConfig) -> bool:
    """Whether the window ends before the search of a model would."""
    left_s = work.seconds_left
    needed_s = parse_budget(model.budget) if model.budget else 0.0
    return left_s is not None and left_s < max(needed_s, 1.0)


def search(work: Work, model: ModelConfig, state: ModelNight) -> ModelNight:
    """The state after the search ended, well or not. It continues the run of this night if there is one.

    `running`: it is done, and what follows is not; `waiting`: it failed in a way that another try may mend.
    """
    folder = work.places.run(work.night, model.name)
    _wait_for_orphan(folder, work)
    reference = reference_of(work.earlier, model.name)
    warm = None if reference is None else _usable(work, reference[1])
    words = search_words(model, folder, warm)
    left_s = work.seconds_left
    ended = work.commands.run(words, log=work.log(model.name), seconds=left_s)
    state = replace(state, attempts=state.attempts + 1, reference=reference[0].name if reference else None)
    step = Step(name="search", at=work.at, seconds=round(ended.seconds, 3), exit_code=ended.exit_code)
    run = Path(str(ended.last_object.get("run") or folder))
    events = [event for event in state.events if event.kind not in ("search-failed", "target-away", "window")]
    if ended.exit_code in (0, 1) or (ended.stopped and _readable(run)):
        if ended.stopped:
            sentence = "The search was stopped when the night's time was over; what it had found counts."
            events.append(work.event("window", "warning", sentence, model=model.name))
        if ended.exit_code == 1:
            sentence = f"Nothing that was measured meets the limits of the search. {ended.message}"
            events.append(work.event("nothing-meets", "warning", sentence, model=model.name))
        return state.with_step(step, state="running", run=work.places.relative(run), events=tuple(events))
    if ended.stopped:
        sentence = "The night's time was over before the search had measured anything."
        events.append(work.event("window", "warning", sentence, model=model.name))
        return replace(state, state="skipped", events=tuple(events))
    if ended.exit_code == UNAVAILABLE:
        sentence = f"The search could not use its target. {ended.reason}"
        events.append(work.event("target-away", "bad", sentence, model=model.name))
        return replace(state, state="away", events=tuple(events))
    events.append(work.event("search-failed", "bad", f"The search failed: {ended.reason}", model=model.name))
    again = ended.exit_code != BAD_INPUT  # what is wrong with the input stays wrong
    return replace(state, state="waiting" if again else "failed", events=tuple(events))


def _usable(work: Work, reference: ModelNight) -> Path | None:
    """The run of the reference night, None where it is gone or damaged: then the search starts cold."""
    assert reference.run is not None
    path = work.places.folder / reference.run
    return path if _readable(path) else None


def _readable(run: Path) -> bool:
    try:
        read_run(run)
    except RunDirectoryError:
        return False
    return True


def _wait_for_orphan(folder: Path, work: Work) -> None:
    """Waits for a search that a killed night left behind: it ends by itself, at a safe place."""
    began, told = time.monotonic(), False
    while (who := holder(folder)) and time.monotonic() - began < _ORPHAN_S:
        if not told:
            work.say(f"waiting for {who}, which an interrupted night left in {folder}")
        told = True
        time.sleep(0.5)
