"""Interruptions: how often a search ended while it tried a candidate, and whether that speaks against it.

Whoever is killed from outside (`kill -9`, a spot machine, a power cut) cannot say so. What *would* speak
against the candidate leaves a trace: a fatal signal (session/crash.py), an error that nobody expected, memory
that ran out, a machine that went down. Everything else is nobody's fault and is only counted.

A candidate during which the search ended SET_ASIDE times, for whatever reason, waits until the others are
done: it may hang, or take longer than this machine ever lives. Only after GIVEN_UP ends that speak against it
does it fail.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from ..results.records.reading import Fields
from ..targets.on_device.agent.process import oom_kills

SET_ASIDE = 3
GIVEN_UP = 5

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What Linux tells of this machine: which start of it this is, and how many processes it has killed for
    want of memory since.
    """

    boot: str
    oom_kills: int

    @classmethod
    def now(cls) -> Self:
        """The machine as it is."""
        try:
            boot = _BOOT_ID.read_text(encoding="ascii").strip()
        except OSError:
            boot = ""
        return cls(boot=boot, oom_kills=oom_kills())

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """The machine that `asdict` described."""
        return cls(boot=fields.text("boot"), oom_kills=fields.whole("oom_kills"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruptions:
    """Those of one trial. `since` is the machine as work on it began, None while nobody works on it;
    `against` are the reasons that speak against it.
    """

    outside: int = 0
    against: tuple[str, ...] = ()
    since: Machine | None = None

    @property
    def count(self) -> int:
        """How often the search ended while it tried the candidate."""
        return self.outside + len(self.against)

    @property
    def set_aside(self) -> bool:
        """Whether others come first."""
        return self.count >= SET_ASIDE

    @property
    def given_up(self) -> bool:
        """Whether it is taken for the cause."""
        return len(self.against) >= GIVEN_UP

    def accused(self, reason: str) -> Self:
        """One more end of the search, which speaks against the candidate."""
        return replace(self, against=(*self.against, reason), since=None)

    def adopted(self, now: Machine, *, crash: str) -> Self:
        """What the next session makes of an end that nobody announced; a fatal signal left `crash`."""
        if self.since is None:
            return self
        reason = crash
        if self.since.boot != now.boot:
            reason = reason or "the machine went down"
        elif self.since.oom_kills < now.oom_kills:
            reason = reason or "the memory ran out"
        return self.accused(reason) if reason else replace(self, outside=self.outside + 1, since=None)

    def to_json(self) -> dict[str, Any]:
        """A JSON value whose keys are the fields."""
        return {**asdict(self), "against": list(self.against)}  # a study in memory keeps it as it is

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """The interruptions that `to_json` described."""
        return fields.record(
            lambda: cls(
                outside=fields.whole("outside"),
                against=tuple(fields.texts("against")),
                since=fields.maybe("since", lambda name: Machine.from_json(fields.object(name))),
            )
        )
