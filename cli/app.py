"""The entry point: what must hold before anything else is imported, and how the command ends."""

import os
import sys

from .console.interruption import INTERRUPTED, Interruption

PREFERRED = {
    "OMP_WAIT_POLICY": "PASSIVE",  # waiting threads would slow the worker beside us down
    "ORT_DISABLE_TELEMETRY": "1",  # it leaves a file in TMPDIR
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # 14 seconds: with its own 7 a server that is away takes minutes
}


def main() -> None:
    """The `autocompress` command: runs the app of commands.py, and ends the process with its exit code."""
    with Interruption() as interruption:  # the imports take seconds, in which Ctrl-C counts, too
        for name, value in PREFERRED.items():
            os.environ.setdefault(name, value)
        try:
            from .console.streams import flushed, lenient_streams, warnings_as_text

            lenient_streams()
            warnings_as_text()
            from .commands import app

            with flushed():
                app()
        except BaseException:  # in an import, Ctrl-C may arrive here as something else
            if not interruption.requested:
                raise
            sys.exit(INTERRUPTED)
