"""A Ray cluster on this machine: a head without CPUs, which is this machine's node, and nodes that are measured
on. What they keep and lock is below a folder of the tests.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from autocompress.tests.sshd import descendants


@contextmanager
def cluster_in(folder: Path) -> "Iterator[Any]":
    """The cluster; nodes that are added in the block keep their files in `folder`."""
    from ray.cluster_utils import Cluster

    (folder / "locks").mkdir()
    (folder / "locks").chmod(0o1777)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("AUTOCOMPRESS_LOCKS", str(folder / "locks"))
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        try:
            yield made
        finally:
            made.shutdown()


def measuring_nodes(cluster: Any) -> list[Any]:
    """The nodes on which a worker's agent runs now."""
    return [node for node in cluster.worker_nodes if _has_agent(node.all_processes["raylet"][0].process.pid)]


def _has_agent(pid: int) -> bool:
    lines = (Path(f"/proc/{child}/cmdline") for child in descendants(pid))
    return any(b"sys.argv[1]" in line.read_bytes() for line in lines if line.exists())
