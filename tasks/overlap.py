"""Which samples the splits share, by the bytes of their inputs: a shared sample hides what compression loses."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from ..errors import TaskError
from .data import Randomness, read, sample_count
from .identity import input_hashes
from .task import Split

_MOST_SAMPLES = 60_000
_MOST_BYTES = 2**30
_FEW = 5  # this many equal samples may happen by chance, even where only a part was compared
_TOLERATED_SHARE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    name: str
    hashes: frozenset[bytes]
    count: int
    seen: int


def overlap_notes(splits: Sequence[tuple[str, Split]]) -> tuple[str, ...]:
    """Remarks on samples that the named splits share; raises TaskError when it is over 1 % of the smaller
    one.

    At most 60,000 samples or 1 GiB of each split are read; of a larger one a fixed random part, and the
    shared number is scaled up from it. A few equal samples (data have natural duplicates) are only remarked
    on.
    """
    compared = [_compare(name, split) for name, split in splits]
    notes = [f"Only {one.seen:,} of the {one.count:,} samples of {one.name} were compared with the other splits."
             for one in compared if one.seen < one.count]  # fmt: skip
    for a, b in combinations(compared, 2):
        found = len(a.hashes & b.hashes)
        if not found:
            continue
        shared = found * (a.count / a.seen) * (b.count / b.seen)
        smaller = min(a, b, key=lambda one: one.count)
        if found > _FEW and shared > _TOLERATED_SHARE * smaller.count:
            raise TaskError(
                f"{a.name} and {b.name} share {'' if shared == found else 'about '}{shared:,.0f} samples, "
                f"{min(1.0, shared / smaller.count):.0%} of {smaller.name}, which hides losses: make them disjoint."
            )
        notes.append(f"{a.name} and {b.name} share {found} equal {'sample' if found == 1 else 'samples'}.")
    return tuple(notes)


def _compare(name: str, split: Split) -> _Compared:
    limit = min(_MOST_SAMPLES, max(1_000, _MOST_BYTES // _sample_bytes(split)))
    hashes = list(input_hashes(split, limit))
    return _Compared(
        name=name, hashes=frozenset(hashes), count=sample_count(split) or len(hashes), seen=len(hashes)
    )


def _sample_bytes(split: Split) -> int:
    with Randomness(0):
        inputs, _ = next(read(split, limit=1))
    return max(1, sum(tensor.element_size() * tensor[0].numel() for tensor in inputs))
