"""The entry point: what must hold before anything else is imported, and how the command ends."""

import os
import sys

from .console.interruption import INTERRUPTED, Interruption
from .console.streams import flushed, lenient_streams, warnings_as_text


def main() -> None:
    """The `autocompress` command: runs the app of commands.py, and ends the process with its exit code."""
    with Interruption() as interruption:  # the imports take seconds, in which Ctrl-C counts, too
        lenient_streams()
        warnings_as_text()
        # waiting threads would slow the worker beside us down; ONNX Runtime leaves a file in TMPDIR
        for name, value in (("OMP_WAIT_POLICY", "PASSIVE"), ("ORT_DISABLE_TELEMETRY", "1")):
            os.environ.setdefault(name, value)
        try:
            from .commands import app

            with flushed():
                app()
        except BaseException:  # in an import, Ctrl-C may arrive here as something else
            if not interruption.requested:
                raise
            sys.exit(INTERRUPTED)
