"""What is done by those that build beside a search: the task is loaded once, then recipes come one by one."""

from dataclasses import replace

from ...compress.compressor import Compressor
from ...compress.graph.network import Network
from ...compress.options import CompressorOptions
from ...tasks.load import load_task
from ...tasks.plain.plain_task import plain_task
from .messages import BuilderConfig


def compressor_of(config: BuilderConfig) -> Compressor:
    """The compressor of a search's task, as the search has it. Raises what loading a task raises."""
    task = plain_task(load_task(config.task, config.arguments))
    dynamic: dict[str | int, dict[int, str]] = {}
    for index, dim, name in config.dynamic:  # also those that the search found in the data
        dynamic.setdefault(index, {})[dim] = name
    task = replace(task, dynamic=dynamic)
    network = Network.trace(  # nobody asks for bytes here
        task.model, task.example_inputs, task.dynamic, used_tokens=task.used_tokens
    )
    options = CompressorOptions(
        formats=tuple(config.formats),
        optional=len(config.formats) > 1,
        seed=config.seed,
        memory_bytes=config.memory_bytes,
        device=config.device,
    )
    return Compressor(task, network, options, cache_dir=config.cache_dir, levels_dir=config.levels_dir)
