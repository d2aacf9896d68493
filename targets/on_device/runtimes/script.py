"""RunScript: what a runtime adds to the run.py of a bundle (deploy/bundled/run_script.py)."""

from __future__ import annotations

from typing import NamedTuple


class RunScript(NamedTuple):
    """Parts of run.py, source text each.

    `imports` follows the imports of json, sys, Path and numpy. `opening` opens the model, whose path it
    writes as `str(here / "model.onnx")`, with the ending of the container in the runtime's facts; `manifest`
    is there. `running` returns a function from the inputs by name to the outputs in their order.

    In a packed bundle the path is replaced by `restored(here / "model.packed")`: the model's bytes. A runtime
    that reads only files gives `restoring`, the source of another function, and its name `restore`. `files`
    are patterns below on_device/ of what run.py imports: those files are copied into the bundle.
    """

    imports: str
    opening: str
    running: str
    restore: str = "restored"
    restoring: str = ""
    files: tuple[str, ...] = ()
