"""A Ray cluster of two nodes on this machine, one of which can be killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest


class TwoNodes:
    """A cluster of a head that runs nothing, and two nodes."""

    def __init__(self, cluster: Any) -> None:
        self.cluster = cluster
        self.nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]

    def kill_the_one_that_runs(self, pid: int) -> None:
        """Kill the node at once, with all its processes, as a machine dies."""
        above = {one.pid for one in psutil.Process(pid).parents()}
        for node in self.nodes:
            raylets = [info.process.pid for info in node.all_processes["raylet"]]
            if above & set(raylets):
                family = [one for raylet in raylets for one in psutil.Process(raylet).children(recursive=True)]
                self.cluster.remove_node(node, allow_graceful=False)
                for process in family:
                    if process.is_running():
                        process.kill()
                return
        raise AssertionError("no node has started it")


@contextmanager
def two_nodes_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[TwoNodes]:
    """The cluster, which commands find; no dashboard, and nothing is told to anybody."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:  # pytest's is too long for a socket
        monkeypatch.setenv("RAY_TMPDIR", folder)
        Path(folder, "ray").mkdir()
        head = {"num_cpus": 0, "include_dashboard": False, "temp_dir": folder}
        try:
            cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        except Exception as error:  # of many kinds: no room for its store, no free port, a busy machine
            pytest.skip(f"Ray starts no cluster on this machine: {' '.join(str(error).split())[:200]}")
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        try:
            yield TwoNodes(cluster)
        finally:
            cluster.shutdown()
