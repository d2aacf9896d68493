"""Which runtimes exist, and how one is loaded on a device."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from ..runtime import RefusedError, Runtime

_HERE = Path(__file__).resolve().parent


def folder_of(name: str) -> str:
    """The folder of a runtime. KeyError if there is none of this name."""
    folders: dict[str, str] = json.loads((_HERE / "listed.json").read_text(encoding="utf-8"))
    return folders[name]


def load_runtime(name: str) -> Runtime:
    """The runtime's module. RefusedError of the kind unavailable says what is missing."""
    try:
        module: Any = importlib.import_module(f".{folder_of(name)}.runtime", __package__)
    except ImportError as missing:
        raise lacking(name, missing) from missing
    runtime: Runtime = module
    return runtime


def lacking(name: str, missing: object) -> RefusedError:
    """The error of a device that lacks a Python module which the runtime needs."""
    reason = f"The worker's Python {sys.executable} lacks a module ({missing})."
    return RefusedError(f"{reason} Install it there: {install_hint(name)}.", kind="unavailable")


def install_hint(name: str) -> str:
    """The commands that install a runtime, with numpy."""
    facts = json.loads((_HERE / folder_of(name) / "facts.json").read_text(encoding="utf-8"))
    systems = [f"{entry['command']} ({entry['system']})" for entry in facts.get("system_installs", [])]
    return ", or ".join([*systems, facts["pip"]])
