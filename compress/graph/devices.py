"""A traced model on a device.

It has its device in three places: parameters and buffers, tensors that it holds as constants, and the
arguments of operations that make tensors (`zeros(…, device=cpu)`).
"""

import torch
from torch import Tensor, fx, nn

from ...tasks.plain.devices import device_of
from .graph import clone_of_graph, get_tensor, set_tensor


def move(module: fx.GraphModule, device: torch.device) -> None:
    """Moves a traced model to the device, in place."""
    names = {name for name, _ in (*module.named_parameters(), *module.named_buffers())}
    for name in names:
        tensor = get_tensor(module, name)
        if tensor.device != device:
            set_tensor(module, name, tensor.detach().to(device))
    for node in module.graph.nodes:
        if node.op == "get_attr" and str(node.target) not in names:
            path, _, leaf = str(node.target).rpartition(".")
            owner: nn.Module = module.get_submodule(path)
            value = getattr(owner, leaf)
            if isinstance(value, Tensor):
                setattr(owner, leaf, value.to(device))
        if node.kwargs.get("device") is not None:
            node.kwargs = {**node.kwargs, "device": device}
    module.recompile()


def take_tensors(module: fx.GraphModule, copied: fx.GraphModule) -> None:
    """Gives a module the tensors that its copy on another device has now."""
    device = device_of(module)
    for name, tensor in (*copied.named_parameters(), *copied.named_buffers()):
        set_tensor(module, name, tensor.detach().to(device))


def on_device(module: fx.GraphModule, device: torch.device) -> fx.GraphModule:
    """The module on the device: itself, or a copy."""
    if device == device_of(module):
        return module
    copied = clone_of_graph(module)
    move(copied, device)
    return copied
