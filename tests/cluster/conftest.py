import os
import subprocess
import sys

import pytest


@pytest.fixture(scope="package")
def cluster():
    """A Ray cluster of one node with two cores, whose processes are this one's children."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": 2**27})
    yield cluster
    cluster.shutdown()


@pytest.fixture
def start(cluster):
    """Start the command with stubs on the cluster, in a process of its own."""
    started = []

    def start(*arguments, worker="StubWorker", memory="", workers=2):
        command = [sys.executable, "-m", "tests.cluster.stub", worker, memory, *arguments]
        command += ["--demo", "--ray", cluster.address, "--workers", workers]
        process = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
