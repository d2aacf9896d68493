"""run.py of a bundle in a program."""

import importlib.util
from pathlib import Path
from types import ModuleType


def imported(bundle: Path) -> ModuleType:
    """run.py as a program imports it."""
    spec = importlib.util.spec_from_file_location("bundle_run", bundle / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
