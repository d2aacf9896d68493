"""Which device a search computes on: what was asked for, if it is there."""

import torch

from ...errors import InputError
from ...profiles import format_size
from .progress import Progress

LEAST_FREE = 2 << 30  # bytes of a GPU that `auto` takes


def chosen_device(asked: str, progress: Progress, *, deterministic: bool = False) -> str:
    """`cpu`, or a GPU such as `cuda:0`. `auto` takes the one with most memory free, if that has LEAST_FREE,
    and says so; a deterministic search takes none, whatever there is. InputError for one that is not there.
    """
    if asked == "cpu" or (asked == "auto" and deterministic):
        return "cpu"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked == "auto":
        free = {index: torch.cuda.mem_get_info(index)[0] for index in range(count)}
        best = max(free, key=free.__getitem__, default=None)
        if best is None or free[best] < LEAST_FREE:
            return "cpu"
        name = torch.cuda.get_device_name(best)
        progress.note(f"The search computes on cuda:{best} ({name}, {format_size(free[best])} free).")
        return f"cuda:{best}"
    index = int(asked.partition(":")[2] or 0)
    if index >= count:
        there = f"torch sees {count} of them" if count else "torch sees no GPU"
        raise InputError(
            f"--device {asked} is not there: {there} (torch {torch.__version__}). Give --device cpu or auto, "
            "or install a torch with CUDA and its driver."
        )
    return f"cuda:{index}"
