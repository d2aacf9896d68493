"""Model and recipe in, artifact out. Knows no device and no runtime's timing.

Flow: `graph.trace` makes an ATen graph of the user's model; `follow` reads how channels move through it into
a `channels.ChannelMap`; `network.Network` holds layers, coupled groups, residual blocks and the cost of any
recipe. The `database.LevelDatabase` has every level's reconstructed weights (`statistics`, `reconstruct`).
For a recipe, `student.StudentMaker` prunes (`prune`), removes blocks (`blocks`), factors (`low_rank`), puts
in the database's weights (`stitch`), fits the layers to the original's outputs (`refit`) and trains
(`recover`, `fake_quantize`); sparse layers get their zeros on the way (`sparse`).
`compressor.Compressor.build` folds normalization, encodes numbers as a format wants them (`encoding`:
`quantize`, `qdq`, `pack`, `block4`, `half`, `fp8`), writes the ONNX file from a template (`export`, `opset`,
`restructure`, `template_edit`) and says what its outputs must be (`fake_outputs`, `check`).

Read in this order: recipe, network, channels, follow, prune, reconstruct, database, stitch, refit, student,
quantize, encoding, export, compressor.
"""

from typing import TYPE_CHECKING, Any

from .artifact import Artifact
from .recipe import Precision, Recipe, Recovery

if TYPE_CHECKING:
    from .compressor import BuildResult, Compressor
    from .graph.channels import Exclusion, Group, keep_counts
    from .graph.layers import Layer
    from .graph.network import Cost, LayerCost, Network
    from .onnx_file.check import OutputCheck, check_outputs
    from .options import CompressorOptions

__all__ = [
    "Artifact", "BuildResult", "Compressor", "CompressorOptions", "Cost", "Exclusion", "Group", "Layer", "LayerCost", "Network",
    "OutputCheck", "Precision", "Recipe", "Recovery", "check_outputs", "keep_counts",
]  # fmt: skip

_MODULES = {
    **dict.fromkeys(("Exclusion", "Group", "keep_counts"), "graph.channels"),
    **dict.fromkeys(("OutputCheck", "check_outputs"), "onnx_file.check"),
    **dict.fromkeys(("BuildResult", "Compressor"), "compressor"),
    **dict.fromkeys(("Cost", "LayerCost", "Network"), "graph.network"),
    "CompressorOptions": "options",
    "Layer": "graph.layers",
}


def __getattr__(name: str) -> Any:
    """Loads torch only when a name that needs it is asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
