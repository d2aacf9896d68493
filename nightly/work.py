"""Work: what every step of a night needs, and the time that is left."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ..results.target_limits import target_addresses
from .commands import Commands
from .config import ModelConfig, NightlyConfig
from .places import Places
from .records.event import Event, Kind, Severity
from .records.night import Night

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """`earlier` are the nights before this one, the first one first. `night` is this one's name. `began` is
    when it began (with a time zone), `clock` tells the time.
    """

    config: NightlyConfig
    places: Places
    commands: Commands
    earlier: tuple[Night, ...]
    night: str
    began: datetime
    say: Say
    clock: Callable[[], datetime] = lambda: datetime.now().astimezone()

    @property
    def deadline(self) -> datetime | None:
        """When the window of this night ends, None without one."""
        until = self.config.until
        if until is None:
            return None
        began = self.began.astimezone()
        end = began.replace(hour=until.hour, minute=until.minute, second=until.second, microsecond=0)
        return end if end > began else end + timedelta(days=1)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until then, None without a window."""
        deadline = self.deadline
        return None if deadline is None else (deadline - self.clock()).total_seconds()

    @property
    def at(self) -> str:
        """Now, as records write it."""
        return self.clock().astimezone(UTC).isoformat(timespec="seconds")

    def log(self, model: str) -> Path:
        """The file for what the commands of a model say."""
        return self.places.log(self.night, model)

    def event(
        self,
        kind: Kind,
        severity: Severity,
        sentence: str,
        *,
        model: str = "",
        target: str = "",
        cause: str | None = None,
    ) -> Event:
        """An event of now."""
        return Event(
            kind=kind,
            severity=severity,
            sentence=sentence,
            at=self.at,
            model=model,
            target=target,
            cause=cause,
        )


def addresses(work: Work, model: ModelConfig) -> dict[str, str]:
    """The targets of a model as runs call them, and each as `--target` takes it in any folder: a profile that
    is a file stands beside nightly.toml.
    """
    return {
        name: str(replace(address, profile=str(work.config.place / address.profile)))
        if address.profile.endswith(".toml")
        else str(address)
        for name, address in target_addresses(model.target).items()
    }


def task_words(model: ModelConfig, *, option: bool) -> list[str]:
    """The task and its arguments as words of a command; `option`: after `--task`."""
    words = ["--task", model.task] if option else [model.task]
    for name, text in model.arguments.items():
        words += ["--task-arg", f"{name}={text}"]
    return words
