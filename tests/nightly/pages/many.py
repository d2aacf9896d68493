"""A month of made-up nights: noise, an upgrade of the runtime that made a model slower, a night that failed."""

import random
from dataclasses import replace
from datetime import date, timedelta

from autocompress.nightly.records.event import Event
from autocompress.nightly.records.model_night import Deployment, ModelNight
from autocompress.nightly.records.night import Night
from autocompress.nightly.records.seen import EnvironmentChange
from autocompress.tests.nightly.sample_nights import AT, check, event, model_night, night, pick

UPGRADED = 24  # the place of the night after the upgrade


def many_nights(count: int = 30, seed: int = 0) -> tuple[Night, ...]:
    """The nights in the order of time; the last one has a regression, one target away and a note."""
    draw, begin = random.Random(seed), date(2026, 11, 1)
    nights = [_night(place, f"{begin + timedelta(days=place)}", draw) for place in range(count)]
    nights[-1] = replace(nights[-1], models=(*nights[-1].models, _away()), events=(_continued(),))
    return tuple(nights)


def _night(place: int, name: str, draw: random.Random) -> Night:
    slower = 1.06 if place >= UPGRADED else 1.0
    ratio = 0.5 * slower * draw.gauss(1.0, 0.008)
    upgrade = EnvironmentChange(target="cpu", what="runtime version", before="1.23.2", now="1.24.0")
    model = model_night(
        reference=None if place == 0 else "the night before",
        hypervolume=0.41 + 0.002 * draw.random(),
        changes=(upgrade,) if place == UPGRADED else (),
        picks=(pick(ratio),),
        checks=(check(ratio=ratio, ratio_interval=(0.98 * ratio, 1.02 * ratio)),),
        events=(event(model="digits", target="cpu"),) if place == UPGRADED else (),
    )
    return night(name, models=(model,))


def _away() -> ModelNight:
    away = event("target-away", "bad", sentence="jetson does not answer.", model="ds_cnn", target="jetson")
    return ModelNight(
        name="ds_cnn",
        state="away",
        events=(away, event("kept", "note", sentence="The deployed bundle stays.", model="ds_cnn")),
        deployment=Deployment(action="kept", version="2026-11-29-7", reason="nothing was measured."),
    )


def _continued() -> Event:
    return Event(kind="continued", severity="note", sentence="The night went on after a kill.", at=AT)
