"""From the user's module to an ATen graph, by torch.export."""

import contextlib
import importlib
import inspect
import warnings
from collections.abc import Mapping, Set
from typing import Any

import torch
from torch import Tensor, fx, nn

from ....errors import TaskError
from ....tasks.plain.call import form_of, input_form, set_plain_call
from ....tasks.plain.dynamic import FreeDims, free_dims
from ....tasks.plain.model import plain_model
from ....tasks.plain.parts import fix_batch
from ....tasks.task import Dynamic, ExampleInputs
from ..graph import operation
from .attention_form import use_plain_attention, write_scales
from .bounded import bound_numbers
from .computed import store_computed_parameters
from .conversions import drop_conversions, forget_layouts
from .in_place import keep_inputs
from .products import make_linear
from .unbatched import give_batches
from .unfolded import unfold_heads

_ASSERTIONS = ("_assert", "sym_constrain_range")
# In the meta of a traced model:
_UNREAD, _OUTPUTS, _FREE = "unread parameters", "names of outputs", "free dimensions"


def load_exporter() -> None:
    """Imports what `trace` needs. It takes two seconds, which a thread can spend while the data are read."""
    importlib.import_module("torch._dynamo")


def trace(model: nn.Module, example_inputs: ExampleInputs, dynamic: Dynamic | None = None) -> fx.GraphModule:
    """The model in inference form as an ATen graph; the model is not changed.

    Dimension 0 is a free batch size, or the only one that a plain model takes (`fixed_batch` of the graph).
    `unread_parameters` of the graph are those that it never reads. Raises TaskError when `torch.export`
    cannot follow the model (control flow that depends on data, a batch size that its code fixes).
    """
    model = plain_model(model).requires_grad_(True)
    use_plain_attention(model)
    form = form_of(model) or input_form(model, example_inputs)
    set_plain_call(model, form)
    inputs = example_tensors(example_inputs)
    dims = free_dims(dynamic or {}, form.inputs, inputs)
    program = _exported(model, inputs if form.batch else batch_of_two(inputs), dims, form.batch)
    module = program.module(check_guards=False)
    assert isinstance(module, fx.GraphModule)
    for method in ("train", "eval"):  # they only refuse, and hold the program with a copy of all weights
        vars(module).pop(method, None)
    drop_conversions(module)
    forget_layouts(module)
    keep_inputs(module)
    if form.batch == 1:
        give_batches(module)
    make_linear(module)
    unfold_heads(module)
    write_scales(module)
    bound_numbers(module)
    absorbed = store_computed_parameters(module)
    _drop_unused_parameters(module)
    module.meta[_FREE] = dims
    fix_batch(module, form.batch)
    module.meta[_OUTPUTS] = form.outputs if form.named else None
    module.meta[_UNREAD] = _unread(model, dict(module.named_parameters()).keys() | absorbed)
    return module


def example_tensors(example_inputs: ExampleInputs) -> tuple[Tensor, ...]:
    """The example inputs in their order, without names."""
    return tuple(example_inputs.values()) if isinstance(example_inputs, Mapping) else example_inputs


def output_names(module: fx.GraphModule) -> tuple[str, ...] | None:
    """The names that the user's model gives its outputs, if it gives any."""
    names: tuple[str, ...] | None = module.meta.get(_OUTPUTS)
    return names


def dims_of(module: fx.GraphModule) -> FreeDims:
    """The dimensions besides the batch that are free, of each input."""
    dims: FreeDims = module.meta[_FREE]
    return dims


def dynamic_shapes(dims: FreeDims, batch: int | None) -> tuple[dict[int, Any], ...]:
    """The same for torch's exporters, with the batch unless it has this one size."""
    free = torch.export.Dim.DYNAMIC
    first: dict[int, Any] = {} if batch else {0: free}
    return tuple(first | dict.fromkeys(names, free) for names in dims)


def _exported(
    model: nn.Module, inputs: tuple[Tensor, ...], dims: FreeDims, batch: int | None
) -> torch.export.ExportedProgram:
    """The exported program, from a plain run, or else from the model's bytecode.

    A plain run takes `len(x)` for a constant; reading the bytecode is slower, and refuses other things.
    """
    try:
        return _export(model, inputs, dims, batch, strict=False)
    except Exception as error:  # torch.export raises many types; all mean that this model cannot be exported
        with contextlib.suppress(Exception):
            return _export(model, inputs, dims, batch, strict=True)
        raise TaskError(
            f"The model cannot be exported by torch.export ({type(error).__name__}: {_first_line(error)}): "
            f"{_remedy(model, inputs, dims, batch)}.{_dynamic_remedy(dims)}"
        ) from error


def _remedy(model: nn.Module, inputs: tuple[Tensor, ...], dims: FreeDims, batch: int | None) -> str:
    if batch is not None:
        return "remove control flow that depends on data"
    with contextlib.suppress(Exception):
        _export(model, inputs, dims, len(inputs[0]), strict=False)
        return (
            "its code depends on the batch size. Let dimension 0 of every input be free, or give the task "
            "the batch size that the file shall have, as in batch=1"
        )
    return "remove control flow that depends on data, and let dimension 0 of every input be a free batch size"


def _dynamic_remedy(dims: FreeDims) -> str:
    names = {name for one in dims for name in one.values()}
    return f" If the model fixes {' or '.join(sorted(names))}, leave it out of dynamic." if names else ""


def _export(
    model: nn.Module, inputs: tuple[Tensor, ...], dims: FreeDims, batch: int | None, *, strict: bool
) -> torch.export.ExportedProgram:
    shapes = dict(zip(_names(model), dynamic_shapes(dims, batch), strict=False))
    with warnings.catch_warnings():  # recurrent layers keep a second list of their weights
        warnings.filterwarnings("ignore", "The tensor attributes? .*_flat_weights", UserWarning)
        return torch.export.export(model, inputs, dynamic_shapes=shapes, strict=strict)


def batch_of_two(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The inputs, a single sample repeated: exporters take a batch of 1 for a constant."""
    if all(len(x) > 1 for x in inputs):
        return inputs
    return tuple(x.repeat(2, *[1] * (x.dim() - 1)) for x in inputs)


def _drop_unused_parameters(module: fx.GraphModule) -> None:
    """Removes parameters that the graph does not read: second names, and layers that never run."""
    _drop_assertions(module)
    module.graph.eliminate_dead_code()
    read = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    names = [name for name, _ in module.named_parameters(remove_duplicate=False)]
    for name in names:
        if name not in read:
            path, _, leaf = name.rpartition(".")
            del module.get_submodule(path)._parameters[leaf]
    module.recompile()


def _drop_assertions(module: fx.GraphModule) -> None:
    """Removes the exporter's checks of types and sizes, which would count as readers of a tensor."""
    for node in reversed(module.graph.nodes):
        if operation(node).startswith(_ASSERTIONS) and not node.users:
            module.graph.erase_node(node)


def unread_parameters(module: fx.GraphModule) -> tuple[str, ...]:
    """Names of the model's parameters that its traced form does not read under any of their names."""
    names: tuple[str, ...] = module.meta[_UNREAD]
    return names


def _unread(model: nn.Module, read: Set[str]) -> tuple[str, ...]:
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return tuple(tied[0] for tied in names.values() if read.isdisjoint(tied))


def _names(model: nn.Module) -> list[str]:
    """Names of the positional parameters of `forward`."""
    return list(inspect.signature(model.forward).parameters)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")[:200]
