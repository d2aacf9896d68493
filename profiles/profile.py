"""Profile: what a target can do and how it is measured, from a TOML file."""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from ..errors import ProfileError
from ..files import digest_of
from .measurement import Timer

_DEVICES = Path(__file__).parent / "devices"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A target: runtime, threads, legal precisions and the Q/DQ convention that its runtime is fast with.

    `storage_bits`: the widths below 8 in which an int8 layer's weights can be stored, if the runtime expands them when it loads.
    `block4`: whether it has a kernel for linear layers with block-wise 4-bit weights.
    `runtime_options` are given to every session of the runtime, and belong in whatever deploys an artifact.
    `architecture` is the processor's, as `uname -m` says it; None: any. `python` is the interpreter on a board.
    `memory_limit_bytes` bounds the address space that models may add to a worker; None: no bound.
    """

    name: str
    description: str
    runtime: Literal["onnxruntime"]
    threads: int
    opset: int = 21
    precisions: tuple[str, ...] = ("float32", "int8")
    int8_operators: tuple[str, ...] = ("Conv", "Gemm")
    storage_bits: tuple[int, ...] = ()
    block4: bool = False
    activations: Literal["uint8-asymmetric"] = "uint8-asymmetric"
    channel_multiple: int = 8
    memory_limit_bytes: int | None = None
    architecture: str | None = None
    python: str = "python3"
    runtime_options: Mapping[str, str] = field(default_factory=dict)

    @property
    def timer(self) -> Timer:
        """Thread CPU time for one thread, which other load hardly disturbs; several threads have only wall-clock."""
        return "thread-cpu" if self.threads == 1 else "wall"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what decides a measurement or an artifact; name and description do not."""
        facts = {**asdict(self), "runtime_options": dict(self.runtime_options)}
        return digest_of({key: value for key, value in facts.items() if key not in {"name", "description"}})


def profile_names() -> tuple[str, ...]:
    """The names of the built-in profiles, sorted."""
    return tuple(sorted(path.stem for path in _DEVICES.glob("*.toml")))


def load_profile(name: str) -> Profile:
    """The profile called `name`, or that of a TOML file if `name` ends in `.toml`. ProfileError says what is wrong."""
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise ProfileError(f"The target file {name!r} does not exist: give a TOML file, or {_choices()}.")
    elif name in profile_names():
        path = _DEVICES / f"{name}.toml"
    else:
        near = difflib.get_close_matches(name, profile_names(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ProfileError(f"There is no target {name!r}: {hint}Use {_choices()}, or the path of a TOML file.")
    return _profile(path.stem, _resolved(path, seen=()), path)


def _choices() -> str:
    return " or ".join(repr(name) for name in profile_names())


def _resolved(path: Path, *, seen: tuple[Path, ...]) -> dict[str, Any]:
    """The file's keys over those of the profile that it inherits; `runtime_options` are merged."""
    path = path.resolve()
    if path in seen:
        raise ProfileError(f"{path} inherits from itself: remove its `inherits` line.")
    try:
        own = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ProfileError(f"The target file {path} cannot be read: {error}.") from error
    _require_known_keys(own, path)
    parent = own.pop("inherits", None)
    if parent is None:
        return own
    base = _resolved(_parent_path(parent, path), seen=(*seen, path))
    options = {**base.get("runtime_options", {}), **own.get("runtime_options", {})}
    return {**base, **own, "runtime_options": options}


def _parent_path(parent: object, child: Path) -> Path:
    """The file behind `inherits`: a built-in name, or a TOML file relative to the inheriting one."""
    if isinstance(parent, str) and parent in profile_names():
        return _DEVICES / f"{parent}.toml"
    if isinstance(parent, str) and parent.endswith(".toml") and (child.parent / parent).is_file():
        return child.parent / parent
    raise ProfileError(f"{child} inherits {parent!r}, which is neither {_choices()} nor a TOML file beside it.")


def _require_known_keys(values: Mapping[str, Any], path: Path) -> None:
    allowed = sorted({item.name for item in fields(Profile)} - {"name"} | {"inherits"})
    for key in values:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ProfileError(f"{path}: unknown key {key!r}: {hint}Allowed are {', '.join(allowed)}.")


def _profile(name: str, values: dict[str, Any], path: Path) -> Profile:
    """The validated profile; lists become tuples."""
    required = {item.name for item in fields(Profile) if item.default is item.default_factory is MISSING} - {"name"}
    if missing := sorted(required - set(values)):
        raise ProfileError(f'{path}: {", ".join(missing)} is missing: add it, or inherits = "cpu".')
    for key, value in values.items():
        if problem := _problem(key, value):
            raise ProfileError(f"{path}: {key} = {value!r} {problem}.")
    tuples = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    return Profile(name=name, **{**values, **tuples})


def _problem(key: str, value: object) -> str | None:
    """What is wrong with a key's value and how to mend it, or None."""
    choices: Mapping[str, tuple[object, ...]] = {
        "runtime": ("onnxruntime",),
        "activations": ("uint8-asymmetric",),
        "precisions": ("float32", "int8"),
        "int8_operators": ("Conv", "Gemm", "MatMul"),
        "storage_bits": (6, 4, 3, 2),
        "block4": (False, True),
    }
    least = {"threads": 1, "opset": 13, "channel_multiple": 1, "memory_limit_bytes": 1}
    if key in least:
        good = isinstance(value, int) and not isinstance(value, bool) and value >= least[key]
        return None if good else f"must be an integer of at least {least[key]}"
    if key in ("precisions", "int8_operators", "storage_bits"):
        good = isinstance(value, list) and bool(value or key == "storage_bits") and all(item in choices[key] for item in value)
        return None if good else f"must be a list out of {', '.join(map(str, choices[key]))}"
    if key in choices:
        return None if value in choices[key] else f"must be {' or '.join(map(repr, choices[key]))}"
    if key == "runtime_options":
        good = isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
        return None if good else "must be a table whose values are strings"
    return None if isinstance(value, str) else "must be a string"
