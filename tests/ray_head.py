"""A Ray cluster of one node with its dashboard, as a process: `python ray_head.py PORT` until SIGTERM.

`ray start` would take fixed ports, which other clusters of this machine may hold.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import threading

import ray


def main(port: int) -> None:
    with tempfile.TemporaryDirectory(prefix="er-", dir="/tmp", ignore_cleanup_errors=True) as temp:
        ray.init(
            address="local",
            num_cpus=8,
            include_dashboard=True,
            dashboard_port=port,
            log_to_driver=False,
            object_store_memory=256 * 2**20,
            _temp_dir=temp,
        )
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        print("up", flush=True)
        stop.wait()
        ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
