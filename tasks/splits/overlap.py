"""Samples that the splits share, by the bytes of their inputs: shared samples hide losses."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from ...errors import TaskError
from ..data import Randomness, read, sample_count
from ..identity import input_hashes
from ..task import Split

_MOST_SAMPLES = 60_000
_MOST_BYTES = 2**30
_FEW = 5  # this many equal samples may happen by chance, even where only a part was compared
_TOLERATED_SHARE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hashed:
    name: str
    hashes: frozenset[bytes]
    count: int
    compared: int


def overlap_notes(splits: Sequence[tuple[str, Split]]) -> tuple[str, ...]:
    """Notes on samples that the named splits share; TaskError if they share more than 1 % of the smaller one.

    At most 60,000 samples or 1 GiB of each split are read. Of a larger split a fixed random part is compared,
    and the number of shared samples is scaled up. A few equal samples (natural duplicates) only become a
    note.
    """
    hashed = [_hashed(name, split) for name, split in splits]
    notes = []
    for one in hashed:
        if one.compared < one.count:
            part = f"Only {one.compared:,} of the {one.count:,} samples of {one.name}"
            notes.append(f"{part} were compared with the other splits.")
    for a, b in combinations(hashed, 2):
        equal = len(a.hashes & b.hashes)
        if not equal:
            continue
        shared = equal * (a.count / a.compared) * (b.count / b.compared)
        smaller = min(a, b, key=lambda one: one.count)
        if equal > _FEW and shared > _TOLERATED_SHARE * smaller.count:
            about = "" if shared == equal else "about "
            share = min(1.0, shared / smaller.count)
            raise TaskError(
                f"{a.name} and {b.name} share {about}{shared:,.0f} samples, {share:.0%} of {smaller.name}, "
                "which hides losses: make them disjoint."
            )
        samples = "sample" if equal == 1 else "samples"
        notes.append(f"{a.name} and {b.name} share {equal} equal {samples}.")
    return tuple(notes)


def _hashed(name: str, split: Split) -> _Hashed:
    limit = min(_MOST_SAMPLES, max(1_000, _MOST_BYTES // _sample_bytes(split)))
    hashes = list(input_hashes(split, limit))
    count = sample_count(split) or len(hashes)
    return _Hashed(name=name, hashes=frozenset(hashes), count=count, compared=len(hashes))


def _sample_bytes(split: Split) -> int:
    with Randomness(0):
        inputs, _ = next(read(split, limit=1))
    return max(1, sum(tensor.element_size() * tensor[0].numel() for tensor in inputs))
