"""The files of nightly runs: read with an ETag, replaced as a whole, by what serve.toml allows alone."""

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from ...files import write_text
from ...nightly.config import ModelConfig, NightlyConfig
from ...nightly.config_file import read_config
from ...nightly.places import Places
from ...nightly.records.night import Night
from ..order import Order
from ..queue.job import ConflictError, NoJobError
from ..tasks import Tasks

_LARGEST = 256 << 10
_one_at_a_time = threading.Lock()


class ChangedError(ConflictError):
    """Somebody else changed the file meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NightFile:
    """A file as it is now: its text, the ETag of it, and why it cannot be used (empty where it can)."""

    name: str
    path: Path
    text: str
    etag: str
    wrong: str
    config: NightlyConfig | None

    @property
    def nights(self) -> tuple[Night, ...]:
        """Its nights, the first one first. RunDirectoryError when a record is damaged."""
        return () if self.config is None else Places(folder=self.config.folder).read_nights()


class NightFiles:
    """The files that serve.toml lists, by name."""

    def __init__(self, files: Mapping[str, Path], tasks: Tasks):
        self._files, self._tasks = files, tasks

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the files."""
        return tuple(self._files)

    def read(self, name: str) -> NightFile:
        """The file of this name; one that is not there is empty. NoJobError for a name that is not listed."""
        if name not in self._files:
            known = ", ".join(self._files) or "there is none"
            raise NoJobError(f"There is no nightly run {name!r} in serve.toml ({known}).")
        path = self._files[name]
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        config, wrong = None, ""
        try:
            config = read_config(path)
        except InputError as error:
            wrong = str(error)
        return NightFile(name=name, path=path, text=text, etag=_etag(text), wrong=wrong, config=config)

    def write(self, name: str, text: str, *, etag: str) -> NightFile:
        """Replaces the file if it still has this ETag. ChangedError when it has not; InputError, in the words
        of `autocompress nightly`, when the new text is wrong or names what serve.toml does not allow.
        """
        text = text.replace("\r\n", "\n")
        if len(text) > _LARGEST or "\x00" in text:
            raise InputError(f"The file has more than {_LARGEST >> 10} KB, or bytes that are no text.")
        with _one_at_a_time:
            now = self.read(name)
            if now.etag != etag:
                raise ChangedError(f"{name} was changed by somebody else: read it again, and then change it.")
            self._require_allowed(now.path, text)
            write_text(now.path, text)
        return self.read(name)

    def _require_allowed(self, path: Path, text: str) -> None:
        """InputError for a text that cannot become the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.stem}.draft.toml")
        try:
            draft.write_text(text, encoding="utf-8")
            config = read_config(draft)
        except InputError as error:
            raise InputError(str(error).replace(str(draft), path.name)) from error
        finally:
            draft.unlink(missing_ok=True)
        places = {"folder": config.folder}
        places |= {f"{one.name}.drift": path.parent / one.drift for one in config.models if one.drift}
        for key, place in places.items():
            if not place.resolve().is_relative_to(path.parent.resolve()):
                raise InputError(f"{key} leads out of {path.parent}: choose a place below it.")
        if config.notify is not None and config.notify.addresses not in self._tasks.config.environment:
            raise InputError(
                f"notify names the variable {config.notify.addresses}: serve.toml lists it as `environment`."
            )
        for model in config.models:
            self._require_model(model, path.parent)

    def _require_model(self, model: ModelConfig, folder: Path) -> None:
        config = self._tasks.config
        if model.push is not None and model.push not in config.listed.registries.values():
            raise InputError(f"{model.name} is pushed to {model.push!r}, which is no registry of serve.toml.")
        spec = model.task
        file, colon, function = spec.rpartition(":")
        if file.endswith(".py"):
            spec = f"{(folder / file).resolve()}{colon}{function}"
        task = next((name for name, one in config.tasks.items() if one.spec == spec), None)
        if task is None:
            known = ", ".join(sorted(one.spec for one in config.tasks.values()))
            raise InputError(f"{model.name}: the task {model.task!r} is not registered here: choose {known}.")
        self._tasks.require(Order(task=task, arguments=model.arguments, target=model.target))


def _etag(text: str) -> str:
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
