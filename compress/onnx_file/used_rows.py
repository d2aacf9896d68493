"""Takes the unused rows out of the tables of a filled model (`graph/used_rows.py`)."""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from ...errors import StageError
from ..graph.used_rows import UsedRows
from .export import Template
from .writer import ModelWriter, initializers_of, takes_rows


def keep_used_rows(model: onnx.ModelProto, template: Template, tables: Mapping[str, UsedRows]) -> None:
    """Cuts tables, by their parameter, in place. What takes rows of one first looks up their new places."""
    if not tables:
        return
    writer = ModelWriter(model)
    for parameter, used in tables.items():
        place = template.parameters.get(parameter)
        name = "" if place is None else place.initializer
        readers = [node for node in model.graph.node if name in node.input]
        if place is None or place.transposed or not all(map(takes_rows, readers)):
            problem = f"the exported model does not take rows of {parameter} as they are"
            raise StageError(f"{problem}: unused ones cannot be removed", stage="build")
        table = initializers_of(model)[name]
        rows = np.ascontiguousarray(numpy_helper.to_array(table)[used.rows])
        table.CopyFrom(numpy_helper.from_array(rows, name))
        places = writer.constant(used.places, "_places")
        if used.places.dtype != np.int32:  # sessions fold the Cast when they load
            whole = writer.free_name(f"{name}.places")
            places = writer.add_node("Cast", [places], whole, to=onnx.TensorProto.INT32)
        for reader in readers:
            moved = writer.free_name(f"{reader.output[0]}.row")
            reader.input[1] = writer.add_node("Gather", [places, reader.input[1]], moved)
    writer.finish()
