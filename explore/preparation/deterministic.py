"""What `--deterministic` changes around the strategy: torch's sums, folders, latencies, the run's identity.

The rest is where it is needed: a strategy goes by `Trials.run`, whose latencies are fixed
(latency/fixed.py), budgets have no seconds (request.py), and a session that continues a run goes through it
from its beginning (../replay.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ...files import cache_folder, digest_of
from ..latency.fixed import FixedLatencies
from .checked_request import CheckedRequest


@contextmanager
def same_sums(*, wanted: bool) -> Iterator[None]:
    """A block in which torch prefers operations that give the same bits each time; as before if not
    `wanted`.
    """
    enabled = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    if wanted:
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warns)


def levels_folder(*, deterministic: bool = False) -> Path:
    """Where the level databases of all tasks are: runs on the same task share one.

    Deterministic searches have another, by the number of threads: sums of other threads round otherwise.
    """
    if deterministic:
        return cache_folder() / f"levels-deterministic-{torch.get_num_threads()}"
    return cache_folder() / "levels"


def templates_folder() -> Path:
    """Where exported templates of all tasks are."""
    return cache_folder() / "templates"


def fixed_latencies(checked: CheckedRequest) -> FixedLatencies | None:
    """What a deterministic search goes by; None for any other."""
    request = checked.request
    if not request.deterministic:
        return None
    return FixedLatencies.of(checked.profiles, checked.network, checked.space, batch=request.batch)


def identity(checked: CheckedRequest) -> dict[str, str]:
    """The entries of run.toml's identity that decide the candidates of a deterministic search."""
    request = checked.request
    if not request.deterministic:
        return {}
    constraints = request.constraints.items()
    limits = [[name, str(limit.max_drop), limit.max_size_bytes] for name, limit in constraints]
    return {
        "deterministic": "yes",
        "seed": str(request.seed),
        "sampler": request.sampler,
        "recovery": str(request.recovery),
        "limits": digest_of(limits),
        "warm start": digest_of([recipe.digest for recipe in checked.warm]),
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads",
    }
