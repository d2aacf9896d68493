"""Model and recipe in, artifact out.

A *recipe* says what to do to a model: how many channels each group keeps, the precision of each layer, ranks,
removed blocks, recovery. `Compressor.build` makes an ONNX file of it in each format that was asked for.

Flow:
    graph/      the user's model as an ATen graph; how channels move through it; the cost of any recipe
    levels/     for each level of a layer, weights reconstructed from statistics of the layer's inputs
    student/    the compressed torch model: pruned, stitched from the levels, fitted, trained
    onnx_file/  the ONNX file: a template of the original, edited; numbers encoded as the format wants them
    litert_file/  the same graph as a .tflite file
    compressor.py puts them together; its `probe` predicts losses without building anything

Imports run `graph <- levels <- student, onnx_file, litert_file <- compressor`; the last three do not know
each other (`tests/compress/test_folders.py`). All of them may import the records in recipe.py, options.py,
artifact.py, stages.py and heap.py. Recipe and artifact need no torch.

Reading order: recipe.py, then the maps in the folders' `__init__`, then compressor.py.

It knows no device, no runtime's timing and no search. It reads the user's data only through `tasks`.
"""

from typing import TYPE_CHECKING, Any

from .artifact import Artifact
from .recipe import Precision, Recipe, Recovery

if TYPE_CHECKING:
    from .compressor import BuildResult, BuiltFile, Compressor
    from .graph.channels import Exclusion, Group, keep_counts
    from .graph.layers import Layer
    from .graph.network import Cost, LayerCost, Network
    from .onnx_file.check import OutputCheck, check_outputs
    from .options import CompressorOptions

__all__ = [
    "Artifact", "BuildResult", "BuiltFile", "Compressor", "CompressorOptions", "Cost", "Exclusion", "Group",
    "Layer", "LayerCost", "Network", "OutputCheck", "Precision", "Recipe", "Recovery", "check_outputs",
    "keep_counts",
]  # fmt: skip

_MODULES = {
    **dict.fromkeys(("Exclusion", "Group", "keep_counts"), "graph.channels"),
    **dict.fromkeys(("OutputCheck", "check_outputs"), "onnx_file.check"),
    **dict.fromkeys(("BuildResult", "BuiltFile", "Compressor"), "compressor"),
    **dict.fromkeys(("Cost", "LayerCost", "Network"), "graph.network"),
    "CompressorOptions": "options",
    "Layer": "graph.layers",
}


def __getattr__(name: str) -> Any:
    """Loads torch only when a name that needs it is used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
