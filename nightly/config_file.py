"""nightly.toml, read strictly: an unknown key, a wrong type or a text without its unit is one sentence."""

import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from datetime import time
from pathlib import Path
from typing import Any, get_args

from ..deploy.registry.address import parse_registry
from ..errors import InputError
from ..explore.preparation.request import SearchRequest
from ..files import read_text
from ..profiles.units import parse_budget, parse_drop, parse_duration, parse_size
from ..results.choosing.policy import Policy
from ..results.compare.tolerance import Tolerance
from ..results.records.reading import Fields, Unfit
from ..results.target_limits import limits_of, target_addresses
from ..tasks.names import require_task
from ..text.secrets import is_secret
from .config import ModelConfig, NightlyConfig, Notify, Order, Told, is_model_name
from .strict_table import StrictTable

SAMPLERS = ("front", "tpe", "nsga2", "gp", "random")
POLICIES: tuple[str, ...] = ("fastest within 1pp",)
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_VARIABLE = re.compile(r"env:([A-Za-z_]\w*)")
_TOP = (
    "folder", "order", "at", "until", "keep", "retry", "retry_wait", "model", "tolerance", "canary", "notify"
)  # fmt: skip
_MODEL = (
    "task", "task_arg", "target", "budget", "trials", "max_drop", "max_latency", "max_size", "max_energy",
    "batch", "shape", "sampler", "seed", "deterministic", "validation_samples", "recovery", "memory",
    "device", "ray", "allow_predicted", "set_clocks", "policies", "deploy", "push", "drift", "margin",
    "priority",
)  # fmt: skip
_CANARY = ("onnxruntime", "openvino")


def read_config(file: Path) -> NightlyConfig:
    """The configuration in a TOML file. InputError names the file, the key and the remedy."""
    try:
        value = tomllib.loads(read_text(file))
    except FileNotFoundError as error:
        raise InputError(
            f"There is no file {file}: write one (docs/nightly.md begins with ten lines)."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read: {error}") from error
    try:
        return _config(value, file.resolve())
    except Unfit as error:
        raise InputError(f"{file}: {str(error).rstrip('.')}.") from error
    except ValueError as error:
        raise InputError(f"{file}: {error}") from error


def _config(value: dict[str, object], file: Path) -> NightlyConfig:
    top = StrictTable(value, "", _TOP)
    models = top.fields.each("model", _model) if top.has("model") else {}
    if top.has("tolerance"):
        tolerance = _tolerance(
            StrictTable(value["tolerance"], "tolerance", [one.name for one in fields(Tolerance)])
        )
    else:
        tolerance = Tolerance()
    return NightlyConfig(
        file=file,
        folder=file.parent / top.get("folder", top.fields.text, "nightly"),
        models=tuple(models.values()),
        order=top.get("order", lambda key: top.fields.choice(key, get_args(Order)), "listed"),
        at=top.get("at", lambda key: _clock(top.fields.value(key), key), None),
        until=top.get("until", lambda key: _clock(top.fields.value(key), key), None),
        keep=top.get("keep", top.fields.whole, 14),
        retry=top.get("retry", top.fields.whole, 1),
        retry_wait_s=top.get("retry_wait", lambda key: parse_duration(top.fields.text(key)), 60.0),
        tolerance=tolerance,
        canary=_canary(value["canary"]) if top.has("canary") else {},
        notify=_notify(value["notify"]) if top.has("notify") else None,
    )


def _model(models: Fields, name: str) -> ModelConfig:
    place = models.at(name)
    if not is_model_name(name):
        raise Unfit(f"the model {name!r} cannot be called so: its name has letters, digits, _ and -")
    table = StrictTable(models.value(name), place, _MODEL)
    read = table.fields
    with _at(place):
        model = ModelConfig(
            name=name,
            task=read.text("task"),
            arguments=_arguments(read, place) if table.has("task_arg") else {},
            target=table.get("target", read.text, "cpu"),
            budget=table.get("budget", read.text, None),
            trials=table.get("trials", lambda key: read.whole(key, least=1), None),
            max_drop=table.get("max_drop", read.text, None),
            max_latency=table.get("max_latency", table.texts, ()),
            max_size=table.get("max_size", table.texts, ()),
            max_energy=table.get("max_energy", table.texts, ()),
            batch=table.get("batch", lambda key: read.whole(key, least=1), 1),
            shapes=table.get("shape", table.texts, ()),
            sampler=table.get("sampler", lambda key: read.choice(key, SAMPLERS), "front"),
            seed=table.get("seed", read.whole, 0),
            deterministic=table.get("deterministic", read.flag, False),
            validation_samples=table.get("validation_samples", lambda key: read.whole(key, least=1), None),
            recovery=table.get("recovery", read.flag, True),
            memory=table.get("memory", read.text, None),
            device=table.get("device", read.text, "auto"),
            ray=table.get("ray", read.text, ""),
            allow_predicted=table.get("allow_predicted", read.flag, False),
            set_clocks=table.get("set_clocks", read.flag, False),
            policies=tuple(map(Policy.parse, table.get("policies", table.texts, POLICIES))),
            deploy=table.get("deploy", read.flag, True),
            push=table.get("push", read.text, None),
            drift=table.get("drift", read.text, None),
            margin=table.get("margin", lambda key: _share(read.text(key), read.at(key)), 0.02),
            priority=table.get("priority", lambda key: _whole(read.value(key), read.at(key)), 0),
        )
        _require_sensible(model)
    return model


def _require_sensible(model: ModelConfig) -> None:
    """InputError for what the command `search` would refuse before it does anything."""
    if model.budget is not None:
        parse_budget(model.budget)
    if model.memory is not None:
        parse_size(model.memory)
    SearchRequest(
        task=model.task,
        trials=model.trials,
        sampler=model.sampler,
        deterministic=model.deterministic,
        device=model.device,
        ray=model.ray,
    )
    require_names_differ([str(policy) for policy in model.policies])
    limits_of(
        list(target_addresses(model.target)),
        max_drop=model.max_drop,
        max_latency=model.max_latency,
        max_size=model.max_size,
        max_energy=model.max_energy,
    )
    if model.push is not None:
        parse_registry(model.push)
    for key in ("push", "drift"):
        if getattr(model, key) is not None and len(target_addresses(model.target)) > 1:
            raise Unfit(f"{model.name} has several targets, and {key} is for a model of one")


def require_names_differ(names: list[str]) -> None:
    """Unfit when a policy is there twice."""
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise Unfit(f"the policy {twice!r} is there twice")


def require_tasks(config: NightlyConfig) -> None:
    """InputError for a task that does not exist, seen from the file's folder, where the search runs."""
    for model in config.models:
        path, colon, function = model.task.rpartition(":")
        local = path if colon else model.task
        spec = model.task
        if local.endswith(".py"):
            spec = f"{config.place / local}{':' + function if colon else ''}"
        try:
            require_task(spec)
        except InputError as error:
            raise InputError(f"{config.file}: model.{model.name}.task: {error}") from error


def _arguments(read: Fields, place: str) -> dict[str, str]:
    arguments = read.each("task_arg", lambda entries, name: entries.text(name))
    for name, text in arguments.items():
        if not name.isidentifier():
            raise Unfit(f"{place}.task_arg has {name!r}, which is no name of an argument")
        if is_secret(name, text):
            raise Unfit(
                f"{place}.task_arg.{name} looks like a secret, and this file is no place for one: "
                f'set an environment variable, and write "env:NAME"'
            )
    return arguments


def _tolerance(table: "StrictTable") -> Tolerance:
    read = table.fields
    names = [one.name for one in fields(Tolerance) if one.name != "drop" and table.has(one.name)]
    shares: dict[str, Any] = {name: _share(read.text(name), read.at(name)) for name in names}
    if not table.has("drop"):
        return Tolerance(**shares)
    drop = parse_drop(read.text("drop"))
    if drop.kind == "absolute":
        raise Unfit("tolerance.drop is in a metric's own unit, but holds for all models: write 0.3% or 0.3pp")
    return Tolerance(drop=drop, **shares)


def _canary(value: object) -> dict[str, str]:
    table = StrictTable(value, "canary", _CANARY)
    wanted = {name: table.fields.text(name) for name in _CANARY if table.has(name)}
    for name, version in wanted.items():
        if re.fullmatch(r"latest|\d+(\.\w+)+", version) is None:
            raise Unfit(f'canary.{name} is {version!r}, but must be "latest" or a version such as "1.24.0"')
    return wanted


def _notify(value: object) -> Notify:
    table = StrictTable(value, "notify", ("addresses", "when"))
    match = _VARIABLE.fullmatch(table.fields.text("addresses"))
    if match is None:
        raise Unfit(
            "notify.addresses must not be here in the clear: put them into an environment variable, one "
            'address a word, and write "env:NAME"'
        )
    return Notify(
        addresses=match[1],
        when=table.get("when", lambda key: table.fields.choice(key, get_args(Told)), "worse"),
    )


def _clock(value: object, key: str) -> time:
    if isinstance(value, time):
        return value
    try:
        return time.fromisoformat(str(value))
    except ValueError as error:
        raise Unfit(f'{key} is {str(value)!r}, but must be a time of day such as "07:00"') from error


def _share(text: str, place: str) -> float:
    match = _SHARE.fullmatch(text.strip())
    if match is None:
        raise Unfit(f'{place} is {text!r}, but must be a percentage such as "2%"')
    return float(match[1]) / 100


def _whole(value: object, place: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Unfit(f"{place} must be a whole number")
    return value


@contextmanager
def _at(place: str) -> Iterator[None]:
    """A block whose errors begin with the place in the file, as Unfit."""
    try:
        yield
    except Unfit:
        raise
    except (InputError, ValueError) as error:
        raise Unfit(f"{place}: {error}") from error
