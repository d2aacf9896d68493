"""serve.toml: what the administrator allows, read strictly. Without it only `digits` can be searched."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..explore.preparation.request import SearchRequest
from ..files import read_text
from ..nightly.commands import option_words
from ..nightly.search_recipe import BUILT_IN, SearchRecipe, recipes_in
from ..nightly.strict_table import StrictTable
from ..profiles.units import parse_size
from ..results.records.reading import Fields, Unfit
from ..results.target_limits import target_addresses
from ..tasks.names import require_task
from .access.provider import ProviderConfig, read_provider
from .listed import Listed, read_listed

_TOP = (
    "task", "device", "data", "environment", "hosts", "limits", "webhook", "notify", "registry", "nightly",
    "recipe", "oidc", "search",
)  # fmt: skip
_SEARCH = ("device", "memory", "ray")
_LIMITS = (
    "live_jobs", "running_jobs", "disk", "memory", "file_size", "open_files", "cpus", "body",
    "requests_per_second", "upload", "uploads",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSource:
    """A registered task: what the command `search` calls it, and arguments that the administrator fixed."""

    name: str
    spec: str
    arguments: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeLimits:
    """`live_jobs`, `running_jobs` and `disk_bytes` are of one user; `memory_bytes` (of data, without what is
    mapped), `file_bytes`, `open_files` and `cpus` of one search; `body_bytes` of a request; `upload_bytes` of
    a file of weights, `uploads_bytes` of all of a user.
    """

    live_jobs: int = 1000
    running_jobs: int = 100
    disk_bytes: int | None = None
    memory_bytes: int | None = None
    file_bytes: int | None = None
    open_files: int = 4096
    cpus: tuple[int, ...] = ()
    body_bytes: int = 1 << 20
    requests_per_second: float = 50.0
    upload_bytes: int = 2 << 30
    uploads_bytes: int = 20 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlace:
    """Where all searches of a machine compute: options of `search` of the same names, None for its own."""

    device: str | None = None
    memory: str | None = None
    ray: str | None = None

    @property
    def words(self) -> list[str]:
        """The options."""
        return option_words({"--device": self.device, "--memory": self.memory, "--ray": self.ray})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """`devices` are the boards that may be named, as `--target` writes them; `data` the folders that
    arguments may lead to; `environment` the variables that searches get besides the usual ones; `hosts` the
    names under which the service may be asked for; `listed` what has a name besides tasks; `provider` where
    people may log in without a token.
    """

    tasks: Mapping[str, TaskSource]
    devices: tuple[str, ...] = ()
    data: tuple[Path, ...] = ()
    environment: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    limits: ServeLimits = field(default_factory=ServeLimits)
    search: SearchPlace = field(default_factory=SearchPlace)
    listed: Listed = field(default_factory=Listed)
    recipes: Mapping[str, SearchRecipe] = field(default_factory=lambda: BUILT_IN)
    provider: ProviderConfig | None = None


DIGITS = TaskSource(name="digits", spec="digits")


def read_serve_config(file: Path | None) -> ServeConfig:
    """The configuration in a file, or that without one. InputError names the file, the key and the remedy."""
    if file is None:
        return ServeConfig(tasks={DIGITS.name: DIGITS})
    try:
        value = tomllib.loads(read_text(file))
        return _config(value, file.resolve().parent)
    except FileNotFoundError as error:
        raise InputError(f"There is no file {file}: docs/service.md begins with one.") from error
    except (Unfit, InputError, ValueError, OSError, RecursionError) as error:
        raise InputError(f"{file}: {str(error).rstrip('.')}.") from error


def _config(value: object, folder: Path) -> ServeConfig:
    top = StrictTable(value, "", _TOP)
    tasks = (
        top.fields.each("task", lambda all_tasks, name: _task(all_tasks, name, folder))
        if top.has("task")
        else {}
    )
    nothing: tuple[str, ...] = ()
    devices = top.get("device", top.texts, nothing)
    for device in devices:
        target_addresses(device)
    return ServeConfig(
        tasks={DIGITS.name: DIGITS, **tasks},
        devices=devices,
        data=tuple((folder / one).resolve() for one in top.get("data", top.texts, nothing)),
        environment=top.get("environment", top.texts, nothing),
        hosts=top.get("hosts", top.texts, nothing),
        limits=_limits(StrictTable(top.fields.value("limits"), "limits", _LIMITS))
        if top.has("limits")
        else ServeLimits(),
        search=_search(StrictTable(top.fields.value("search"), "search", _SEARCH))
        if top.has("search")
        else SearchPlace(),
        listed=read_listed(top, folder),
        recipes={**BUILT_IN, **recipes_in(top.fields)},
        provider=read_provider(top),
    )


def _task(tasks: Fields, name: str, folder: Path) -> TaskSource:
    table = StrictTable(tasks.value(name), tasks.at(name), ("task", "arguments"))
    spec = table.fields.text("task")
    path, colon, function = spec.rpartition(":")
    if path.endswith(".py"):
        spec = f"{(folder / path).resolve()}{colon}{function}"
    require_task(spec)
    arguments = (
        table.fields.each("arguments", lambda entries, key: entries.text(key))
        if table.has("arguments")
        else {}
    )
    return TaskSource(name=name, spec=spec, arguments=arguments)


def _search(table: StrictTable) -> SearchPlace:
    read = table.fields
    place = SearchPlace(
        device=table.get("device", read.text, None),
        memory=table.get("memory", read.text, None),
        ray=table.get("ray", read.text, None),
    )
    if place.memory is not None:
        parse_size(place.memory)
    SearchRequest(task=DIGITS.spec, device=place.device or "auto", ray=place.ray or "")  # or refuses them
    return place


def _limits(table: StrictTable) -> ServeLimits:
    read, usual = table.fields, ServeLimits()

    def whole(key: str) -> int:
        return read.whole(key, least=1)

    def size(key: str) -> int:
        return parse_size(read.text(key))

    cpus = tuple(int(one) for one in read.numbers("cpus")) if table.has("cpus") else ()
    return ServeLimits(
        live_jobs=table.get("live_jobs", whole, usual.live_jobs),
        running_jobs=table.get("running_jobs", whole, usual.running_jobs),
        disk_bytes=table.get("disk", size, None),
        memory_bytes=table.get("memory", size, None),
        file_bytes=table.get("file_size", size, None),
        open_files=table.get("open_files", whole, usual.open_files),
        cpus=cpus,
        body_bytes=table.get("body", size, usual.body_bytes),
        upload_bytes=table.get("upload", size, usual.upload_bytes),
        uploads_bytes=table.get("uploads", size, usual.uploads_bytes),
        requests_per_second=table.get("requests_per_second", read.positive, usual.requests_per_second),
    )
