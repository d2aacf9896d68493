"""Other versions of a runtime, each in a virtual environment; and one artifact in two of them, in turns."""

import importlib.metadata
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ...errors import AutocompressError, TargetUnavailable
from ...evaluation.targets import load_targets
from ...files import digest_of_file, write_text
from ...profiles.sizes import Sizes
from ...results.compare.change import change_beside
from ...results.compare.tolerance import Tolerance
from ...targets.target import Target
from ...targets.turns import TIMING
from ..records.seen import InTurns
from .in_turns import Setting, Turns, measure_in_turns

PACKAGES = ("onnxruntime", "openvino")  # runtimes that are a package of pip of the same name
_INSTALL_S = 1800.0
_READY = "ready.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What is measured in turns: an artifact on a target (its name, and with its address as `--target` takes
    it), and why: `upgrade` or `canary`.
    """

    reason: str
    package: str
    target: str
    address: str
    model: Path
    batch: int = 1
    sizes: Sizes | None = None


def python_with(folder: Path, package: str, version: str, *, log: Path) -> Path:
    """The Python of a virtual environment in `folder` with this version of a package, `latest` for the newest
    one. It is made with pip where it is not there. TargetUnavailable when that fails.
    """
    place = folder / f"{package}-{version}"
    python, ready = place / "bin" / "python", place / _READY
    if ready.is_file() and version != "latest":
        return python
    asked = package if version == "latest" else f"{package}=={version}"
    log.parent.mkdir(parents=True, exist_ok=True)
    pip = [
        str(python),
        "-P",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--upgrade",
        asked,
    ]
    make = [sys.executable, "-P", "-m", "venv", "--clear", str(place)]
    for command in ([] if ready.is_file() else [make], [pip]):
        for words in command:
            _run(words, log, what=f"{package} {version}")
    write_text(ready, json.dumps({"package": package, "version": version}))
    return python


def version_in(python: Path, package: str) -> str:
    """The version of a package that a Python has. TargetUnavailable when it has none."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run(
        [str(python), "-P", "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    version = done.stdout.strip()
    if done.returncode != 0 or re.fullmatch(r"\d[\w.+-]*", version) is None:
        raise TargetUnavailable(f"{python} has no {package}.")
    return version


def _run(words: list[str], log: Path, *, what: str) -> None:
    with log.open("a") as file:
        try:
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, timeout=_INSTALL_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TargetUnavailable(f"{what} could not be installed beside ours: {error}.") from error
    if done.returncode != 0:
        raise TargetUnavailable(f"{what} could not be installed beside ours: {log} says why.")


def installed(package: str) -> str:
    """The version of a package in this Python, `none` where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def in_turns(
    compared: Compared, old: Setting, new: Setting, tolerance: Tolerance, *, versions: tuple[str, str]
) -> InTurns:
    """The artifact in both settings; a second time when it is slower beyond the tolerance, and only called
    worse if it is again. `versions` are what the two are called.
    """
    try:
        target, timing = _target(compared), TIMING.with_batch(compared.batch)
        seen = measure_in_turns(compared.model, target, old, new, timing=timing)
        worse = change_beside(seen.ratio_interval, tolerance.runtime).verdict == "worse"
        if worse:
            seen = measure_in_turns(compared.model, target, old, new, timing=timing)
            worse = change_beside(seen.ratio_interval, tolerance.runtime).verdict == "worse"
    except AutocompressError as error:
        return not_compared(compared, versions, str(error))
    return _record(compared, versions, seen=seen, worse=worse)


def not_compared(compared: Compared, versions: tuple[str, str], reason: str) -> InTurns:
    """That the two could not be measured, and why."""
    return _record(compared, versions, failure=reason)


def _record(
    compared: Compared,
    versions: tuple[str, str],
    *,
    seen: Turns | None = None,
    worse: bool = False,
    failure: str | None = None,
) -> InTurns:
    return InTurns(
        reason=compared.reason,
        package=compared.package,
        old=versions[0],
        new=versions[1],
        target=compared.target,
        digest=digest_of_file(compared.model),
        ratio=seen.ratio if seen else None,
        ratio_interval=seen.ratio_interval if seen else None,
        worse=worse,
        failure=failure,
    )


def _target(compared: Compared) -> Target:
    (named,) = load_targets(compared.address)
    if not named.address.local:
        raise TargetUnavailable(
            f"The target {named.profile.name} is on a board: install the other version there, and compare by "
            "`autocompress measure`."
        )
    return Target(named.profile, sizes=compared.sizes)
