"""Runs the worker out of this folder, wherever it lies."""

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
# Python puts this folder first, where its modules would shadow others, unless it was started with -P (since
# 3.11). The folder above comes last, so that nothing beside this folder shadows a module either.
sys.path[:] = [*(entry for entry in sys.path if Path(entry or ".").resolve() != _HERE), str(_HERE.parent)]

if __name__ == "__main__":
    from on_device.worker import main

    main()
