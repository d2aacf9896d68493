"""A night in a process of its own, on a machine that is never too restless to measure.

python -m autocompress.tests.nightly.night_process nightly.toml
"""

import sys
from pathlib import Path

from autocompress.cli.console.interruption import INTERRUPTED, Interruption
from autocompress.nightly.commands import Commands
from autocompress.nightly.config_file import read_config
from autocompress.nightly.night_run import run_night
from autocompress.nightly.records.event import exit_code
from autocompress.targets import control
from autocompress.tests.restless import restless


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def night(file: Path):
    """The night of the configuration, with commands that measure on a restless machine, too."""
    config = read_config(file)
    return run_night(config, commands=Commands(config.place, program=restless()), say=say)


if __name__ == "__main__":
    control.TOLERANCE = 100.0
    with Interruption():
        try:
            code = exit_code(night(Path(sys.argv[1])).all_events)
        except KeyboardInterrupt:
            code = INTERRUPTED
    sys.exit(code)
