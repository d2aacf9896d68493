"""A second device that needs no GPU: its tensors compute on the CPU, but meet no other tensors.

`with Elsewhere() as elsewhere:` is a block in which `x.to(ELSEWHERE)` and `zeros(…, device=ELSEWHERE)` work.
What GPUs refuse is refused: an operation on tensors of both devices (one without dimensions from the CPU
counts as a number), and `numpy()`. It is stricter than a GPU, which takes indices from the CPU, and raises
where a copy to the CPU is not waited for.

The type is torch's `lazy`, of which nothing is used but the name: autograd runs its tensors in the thread of
the caller, where the block is seen.
"""

from collections import Counter

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

ELSEWHERE = torch.device("lazy:0")
_aten, _torch_tensor = torch.ops.aten, torch.tensor
_COPIES = {_aten._to_copy.default, _aten.copy_.default}
WORK = ("mm", "conv", "linear", "cholesky", "solve", "linalg_inv", "batch_norm")


class There(Tensor):
    """A tensor that says to be elsewhere; `held` has its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, inner):
        made = Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(),
            dtype=inner.dtype, layout=inner.layout, device=ELSEWHERE,
            dispatch_sizes_strides_policy="sizes",  # an operation may change them in place
        )  # fmt: skip
        made.held = inner
        return made

    def __repr__(self, *, tensor_contents=None):
        return f"There({self.held})"

    def tolist(self):
        """As of any tensor; torch has none for a subclass."""
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):  # type: ignore[override]
        return computed(func, args, kwargs or {})


class Elsewhere(TorchDispatchMode):
    """The block. `work` counts what multiplies or solves, by name and by type of device. A tensor of
    more than `most` numbers does not fit: `refused` counts them.
    """

    def __init__(self, most=None):
        super().__init__()
        self.work: Counter[tuple[str, str]] = Counter()
        self.most, self.refused = most, 0

    def __enter__(self):
        torch.tensor = _tensor
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        torch.tensor = _torch_tensor

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = computed(func, args, kwargs or {}, self)
        if any(kind in str(func) for kind in WORK):
            flat = [x for x in tree_flatten(made)[0] if isinstance(x, Tensor)]
            self.work[str(func), "there" if any(isinstance(x, There) for x in flat) else "here"] += 1
        return made

    def names(self, place):
        """The operations that were run `here` or `there`."""
        return {name for name, where in self.work if where == place}


def _tensor(*arguments, device=None, **options):
    """`torch.tensor`, which makes its tensor where no mode sees it: here it is moved."""
    made = _torch_tensor(*arguments, **options)
    return made if device is None else made.to(device)


def computed(function, arguments, options, block=None):
    """What the operation gives, where its tensors are."""
    flat, _ = tree_flatten((arguments, options))
    there = [x for x in flat if isinstance(x, There)]
    here = [x for x in flat if isinstance(x, Tensor) and not isinstance(x, There)]
    copies = function in _COPIES
    if there and not copies and (any(x.dim() for x in here) or _writes_here(function, arguments)):
        raise RuntimeError(f"{function}: tensors are on two devices")
    device = options.get("device")
    goes_there = bool(there)
    if function is _aten.copy_.default:
        goes_there = isinstance(arguments[0], There)
    if device is not None:
        goes_there = torch.device(device) == ELSEWHERE
        assert goes_there or not (there and options.get("non_blocking")), "nobody waits for this copy"
        options = {**options, "device": torch.device("cpu")}
    known = {id(x.held): x for x in there}

    def placed(value):
        if not isinstance(value, Tensor) or not goes_there:
            return value
        if block is not None and block.most is not None and value.numel() > block.most:
            block.refused += 1
            raise torch.OutOfMemoryError(f"out of memory: tried to allocate {value.numel()} numbers")
        return known[id(value)] if id(value) in known else There(value)

    if not goes_there and not there:
        return function(*arguments, **options)
    with torch.inference_mode(False), torch.no_grad():  # torch's own book-keeping is done around this
        made = function(*_inner(arguments), **_inner(options))
        return tree_map(placed, made)


def _inner(values):
    return tree_map(lambda x: x.held if isinstance(x, There) else x, values)


def _writes_here(function, arguments):
    """Whether it would change a tensor of the CPU."""
    pairs = zip(function._schema.arguments, arguments, strict=False)
    return any(
        one.alias_info is not None
        and one.alias_info.is_write
        and isinstance(x, Tensor)
        and not isinstance(x, There)
        for one, x in pairs
    )
