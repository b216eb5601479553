"""The head of a Ray cluster of several nodes, with Errata on it: `python node_head.py ADDRESS TEMP NUM_NODES SETTINGS`.

It runs until SIGTERM, and says `joins ADDRESS:PORT` when other nodes may come, and `up` when so many have and the
server answers.
"""

from __future__ import annotations

import signal
import sys
import threading

import ray

from serve import deployments
from serve.settings import Settings


def main(address: str, temp: str, num_nodes: int, settings: Settings) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    cluster = ray.init(
        address="local",
        num_cpus=0,  # replicas and training are for the other nodes
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=128 * 2**20,
        namespace="errata",
        _node_ip_address=address,
        _temp_dir=temp,
    )
    print("joins", cluster.address_info["gcs_address"], flush=True)
    while sum(node["Alive"] for node in ray.nodes()) < num_nodes:
        if stop.wait(0.2):
            return
    deployments.deploy(settings)
    print("up", flush=True)
    stop.wait()
    deployments.shut_down()
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Settings.model_validate_json(sys.argv[4]))
