"""Runs the worker out of this folder, wherever it lies."""

import sys
from pathlib import Path

sys.path.append(
    str(Path(__file__).resolve().parent.parent)
)  # last, so that nothing beside this folder shadows a module

if __name__ == "__main__":
    from on_device.worker import main

    main()
