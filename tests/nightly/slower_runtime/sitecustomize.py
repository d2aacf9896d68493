"""Makes ONNX Runtime slower in every Python that has this folder on PYTHONPATH: each run spins for a share of
the time that it took, and the version is another.
"""

import importlib.abc
import importlib.machinery
import os
import sys
import time
from typing import Any


def slowed(module: Any, share: float) -> None:
    """Replaces the module's session by one that takes longer."""

    class SlowerSession(module.InferenceSession):
        def run(self, *arguments, **named):
            return _longer(super().run, arguments, named, share)

        def run_with_iobinding(self, *arguments, **named):
            return _longer(super().run_with_iobinding, arguments, named, share)

    module.InferenceSession = SlowerSession
    module.__version__ = "9.9.9"


def _longer(function, arguments, named, share):
    began = time.thread_time()
    answer = function(*arguments, **named)
    end = began + (time.thread_time() - began) * (1 + share)
    while time.thread_time() < end:
        pass
    return answer


class Loader(importlib.machinery.SourceFileLoader):
    """Loads onnxruntime, and slows it down."""

    def exec_module(self, module):
        super().exec_module(module)
        slowed(module, float(os.environ.get("SLOWER", "0.05")))


class Finder(importlib.abc.MetaPathFinder):
    """Finds onnxruntime for this loader."""

    def find_spec(self, name, path, target=None):
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name == "onnxruntime" else None
        if spec is not None and spec.origin is not None:
            spec.loader = Loader(name, spec.origin)
        return spec


sys.meta_path.insert(0, Finder())
