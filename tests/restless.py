"""The command line on a machine that is never too restless to measure, for tests beside other work.

    python -m autocompress.tests.restless search task.py:make --trials 2

What a measurement says is not judged by these tests: it has two short pairs, and no finalist is measured
again. That a restless machine is refused is tested in tests/targets/test_target.py.
"""

import os
import runpy
import subprocess
import sys
from pathlib import Path

from autocompress import profiles
from autocompress.profiles import measurement

SHORT = measurement.TimingConfig(
    pairs_min=2, pairs_max=2, pair_s=0.3, block_s=0.005, warmup_s=0.1, half_width=1.0
)


def restless(*arguments: str | Path) -> list[str]:
    """The command that runs autocompress with these arguments, whatever else this machine does."""
    return [sys.executable, "-m", __name__, *map(os.fsdecode, arguments)]


def measuring(
    *arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None, timeout_s: float = 240
) -> subprocess.CompletedProcess[str]:
    """What a command that really measures prints, and its exit code."""
    return subprocess.run(
        restless(*arguments), capture_output=True, text=True, cwd=cwd, env=env, timeout=timeout_s, check=False
    )


if __name__ == "__main__":
    for module in (measurement, profiles):  # before others take the names from there
        module.SEARCH_TIMING = module.FINALIST_TIMING = SHORT  # type: ignore[attr-defined]
    from autocompress.targets import control

    control.TOLERANCE = 100.0
    runpy.run_module("autocompress", run_name="__main__")
