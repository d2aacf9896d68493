"""The traced model: an ATen graph (torch.export) that can be read, edited and run like any module.

`tracing.trace` makes it. The graph keeps the parameters' names (state_dict keys): a layer here, its ONNX
initializer and the user's module share one name. Batch normalization and dropout stay in the graph and can
be switched between training and inference.
"""

import copy
import warnings
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Any, TypeVar

import ml_dtypes
import numpy as np
import torch
from torch import Tensor, fx, nn

Module = TypeVar("Module", bound=nn.Module)
CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d"})
TRANSPOSED = frozenset({"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"})
RECURRENT = frozenset({"gru", "lstm", "rnn_tanh", "rnn_relu"})
LAYERS = CONVOLUTIONS | {"linear"}
_TRAINING_ARGUMENT = {"batch_norm": 5, "dropout": 2, "feature_dropout": 2}


def clone(module: Module) -> Module:
    """A deep copy of a model."""
    return _copied(module, {})


def clone_of_graph(module: Module) -> Module:
    """A copy of a model whose parameters and buffers are those of the model itself, for whoever replaces some
    (`set_tensor`) and changes none: a large model has room for few copies of them.
    """
    return _copied(module, {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())})


def _copied(module: Module, shared: dict[int, Any]) -> Module:
    with warnings.catch_warnings():  # torch warns of its own deprecated check when it copies a graph
        warnings.simplefilter("ignore", FutureWarning)
        return copy.deepcopy(module, shared)


def operation(node: fx.Node) -> str:
    """The ATen operation without namespace and overload (`conv2d`), or the node's kind (`placeholder`,
    `getitem`).
    """
    if node.op != "call_function":
        return node.op
    if isinstance(node.target, torch._ops.OpOverload):
        return str(node.target.overloadpacket).rpartition(".")[2].rstrip("_")
    return getattr(node.target, "__name__", str(node.target))


def layer_nodes(module: fx.GraphModule) -> Iterator[tuple[str, fx.Node]]:
    """Name, node of convolutions and linear layers with a parameter as weight, in order of execution."""
    for node in module.graph.nodes:
        if operation(node) in LAYERS and argument(node, 1).op == "get_attr":
            yield layer_name(argument(node, 1).target), node


def weight_nodes(node: fx.Node) -> list[fx.Node]:
    """The weights that a node multiplies with: one of a convolution or linear layer, several of a recurrent
    one.
    """
    if operation(node) in LAYERS | TRANSPOSED and argument(node, 1).op == "get_attr":
        return [argument(node, 1)]
    return weight_matrices(node) if operation(node) in RECURRENT else []


def weight_matrices(node: fx.Node) -> list[fx.Node]:
    """The parameters of a recurrent call with two dimensions (its biases have one)."""
    parameters: Any = argument(node, 2)
    return [weight for weight in parameters if weight.op == "get_attr" and len(weight.meta["val"].shape) == 2]


@dataclass(frozen=True, slots=True)
class Weight:
    """A weight that a node of the graph multiplies with, or a table from which it takes rows."""

    layer: str
    parameter: str
    operation: str

    @property
    def step_dim(self) -> int:
        """The dimension along which each index has a step of its own when the weight is rounded."""
        return 1 if self.operation in TRANSPOSED else 0


def weights_of(module: fx.GraphModule) -> Iterator[Weight]:
    """The weights of all layers in order of execution, a weight as often as it is read."""
    for node in module.graph.nodes:
        for weight in [*weight_nodes(node), *table_nodes(node)]:
            yield Weight(layer_name(str(weight.target)), str(weight.target), operation(node))


def table_nodes(node: fx.Node) -> list[fx.Node]:
    """The parameter from which an embedding takes rows."""
    is_table = operation(node) == "embedding" and argument(node, 0).op == "get_attr"
    return [argument(node, 0)] if is_table else []


def varying_nodes(module: fx.GraphModule) -> set[fx.Node]:
    """The nodes whose values depend on the model's inputs. The exporter may compute the others for good."""
    varying: set[fx.Node] = set()
    for node in module.graph.nodes:
        if node.op == "placeholder" or not varying.isdisjoint(node.all_input_nodes):
            varying.add(node)
    return varying


def layer_name(weight: str) -> str:
    """The layer's name from its weight's: `block.conv1.weight` → `block.conv1`."""
    return weight.removesuffix(".weight")


def bias_name(weight: str) -> str:
    """The name of the bias beside a weight."""
    return f"{layer_name(weight)}.bias" if weight.endswith(".weight") else f"{weight}_bias"


def get_tensor(module: nn.Module, name: str) -> Tensor:
    """The parameter or buffer called `name`."""
    path, _, leaf = name.rpartition(".")
    value: Tensor = getattr(module.get_submodule(path), leaf)
    return value


def array_of(tensor: Tensor) -> np.ndarray:
    """The values of any tensor of a graph: a view of a parameter, bfloat16, a conjugation that is pending."""
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
    if plain.dtype == torch.bfloat16:
        return np.asarray(plain.view(torch.int16).numpy().view(ml_dtypes.bfloat16))
    return np.asarray(plain.numpy())


def set_tensor(module: nn.Module, name: str, value: Tensor) -> None:
    """Replaces the parameter or buffer called `name`, or adds a parameter."""
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    if leaf in owner._buffers:
        owner._buffers[leaf] = value.detach()
    else:
        owner._parameters[leaf] = nn.Parameter(value.detach(), requires_grad=value.is_floating_point())


def argument(node: fx.Node, index: int, default: Any = None) -> Any:
    """Positional argument `index` of an ATen call, or `default` where the call leaves it out."""
    return node.args[index] if len(node.args) > index else default


def shape_of(node: Any) -> list[int]:
    """Shape of the node's tensor; the free batch size is that of the example."""
    return [_size(size) for size in node.meta["val"].shape]


def _size(size: int | torch.SymInt) -> int:
    return int(size.node.hint) if isinstance(size, torch.SymInt) else int(size)


def set_training(module: fx.GraphModule, training: bool, *, frozen: Set[str] = frozenset()) -> None:
    """Switches dropout and batch normalization, of which those in `frozen` stay in the form for inference.

    `module.train()` does not reach them in a graph.
    """
    for node in module.graph.nodes:
        position = _TRAINING_ARGUMENT.get(operation(node))
        if position is not None:
            value = training and node.name not in frozen
            node.args = (*node.args[:position], value, *node.args[position + 1 :])
    module.recompile()


def batch_norms(module: fx.GraphModule) -> list[fx.Node]:
    """The batch normalizations, in order of execution."""
    return [node for node in module.graph.nodes if operation(node) == "batch_norm"]


def running_means(module: fx.GraphModule) -> list[str]:
    """The names of the running means of the batch normalizations that have some."""
    return _read_by_norms(module, 3)


def running_statistics(module: fx.GraphModule) -> list[str]:
    """The names of their running means, and then of their variances."""
    return running_means(module) + _read_by_norms(module, 4)


def _read_by_norms(module: fx.GraphModule, index: int) -> list[str]:
    tensors = [argument(node, index) for node in batch_norms(module)]
    return list(dict.fromkeys(str(one.target) for one in tensors if one is not None))


def fold_batch_norms(module: fx.GraphModule) -> fx.GraphModule:
    """A copy in which each batch normalization right behind a layer has become part of the layer's weights.

    w' = w·γ/√(σ²+ε), b' = β + (b-μ)·γ/√(σ²+ε). Others (behind a sum, or in front of a layer) stay. All other
    tensors are those of the model itself.
    """
    module = clone_of_graph(module)
    for node in folded_norms(module):
        _fold(module, argument(node, 0), node)
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()
    return module


def folded_norms(module: fx.GraphModule) -> list[fx.Node]:
    """The batch normalizations that `fold_batch_norms` folds, in order of execution."""
    readers: Counter[str] = Counter()
    for node in module.graph.nodes:
        if node.op == "get_attr":
            readers[str(node.target)] += len(node.users)
    return [
        node
        for node in batch_norms(module)
        if _foldable(argument(node, 0)) and readers[str(argument(argument(node, 0), 1).target)] == 1
    ]


def make_norms_positive(module: fx.GraphModule) -> None:
    """Changes the signs of a layer's row and of its normalization where γ < 0; the outputs stay exactly the
    same.

    Folding a negative γ would change the sign of weights that were rounded, and a range like -2..1 is not
    symmetric.
    """
    for node in batch_norms(module):
        layer = argument(node, 0)
        if argument(node, 1) is None or not _foldable(layer) or len(argument(layer, 1).users) > 1:
            continue
        gamma = get_tensor(module, str(argument(node, 1).target)).detach()
        sign = torch.where(gamma < 0, -1.0, 1.0)
        for parameter in (argument(node, 1), argument(node, 3), argument(layer, 2)):
            if parameter is not None:
                tensor = get_tensor(module, str(parameter.target)).detach()
                set_tensor(module, str(parameter.target), tensor * sign)
        name = str(argument(layer, 1).target)
        weight = get_tensor(module, name).detach()
        behind = weight.dim() - (2 if operation(layer) in TRANSPOSED else 1)
        set_tensor(module, name, weight * sign.reshape(-1, *[1] * behind))


def _foldable(layer: Any) -> bool:
    transposed = operation(layer) in TRANSPOSED and argument(layer, 6, 1) == 1
    has_kind = operation(layer) in LAYERS or transposed
    return has_kind and argument(layer, 1).op == "get_attr" and len(layer.users) == 1


def _fold(module: fx.GraphModule, layer: fx.Node, norm: fx.Node) -> None:
    weight_node = argument(layer, 1)
    gamma, beta, mean, variance = (_detached(module, argument(norm, index)) for index in (1, 2, 3, 4))
    assert mean is not None
    assert variance is not None
    scale = torch.rsqrt(variance + argument(norm, 7))
    scale = scale if gamma is None else scale * gamma
    weight = get_tensor(module, weight_node.target).detach()
    bias = _detached(module, argument(layer, 2))
    bias = ((0 if bias is None else bias) - mean) * scale + (0 if beta is None else beta)
    behind = weight.dim() - (2 if operation(layer) in TRANSPOSED else 1)
    set_tensor(module, weight_node.target, weight * scale.reshape(-1, *[1] * behind))
    name = bias_name(weight_node.target)
    set_tensor(module, name, bias)
    with module.graph.inserting_before(layer):
        new_bias = module.graph.get_attr(name)
    new_bias.meta["val"] = norm.meta["val"].new_empty(tuple(bias.shape)) if "val" in norm.meta else bias
    layer.args = (*layer.args[:2], new_bias, *layer.args[3:])
    norm.replace_all_uses_with(layer)
    module.graph.erase_node(norm)


def _detached(module: nn.Module, node: Any) -> Tensor | None:
    """The parameter that a node stands for, if there is one."""
    return None if node is None else get_tensor(module, node.target).detach()
