"""The heap after large work: what lies in cycles, and what the C library keeps for later."""

import contextlib
import ctypes
import gc

from torch import nn

LARGE_BYTES = 50 << 20  # of a model: smaller copies may wait for Python's own collection


def give_memory_back() -> None:
    """Ends what lies in cycles, as every traced model does, and gives the system what is free. It takes about
    0.2 s.
    """
    gc.collect()
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def give_copies_back(model: nn.Module) -> None:
    """The same behind work on copies of a model, if they are large. Python's own collection waits for many
    new objects, however large they are: seven copies of a BERT-base were alive at the same time.
    """
    if sum(each.numel() * each.element_size() for each in model.parameters()) >= LARGE_BYTES:
        give_memory_back()
