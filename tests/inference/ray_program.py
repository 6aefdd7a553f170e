"""A run on a real two-node cluster on this machine: ``python ray_program.py INPUT OUT [kill]``.

With ``kill`` the second node is taken away while studies run on it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
sys.path.insert(0, str(Path(__file__).resolve().parent))

import ray
from ray.cluster_utils import Cluster
from torture_program import DIGESTS, PictureWorker, find_inputs

from domain.settings import InferSettings
from inference import StudyFinished, run_studies

OBJECT_STORE_BYTES = 80_000_000  # the smallest Ray takes; nothing of ours goes there


def main() -> int:
    """Start the cluster, run, end it."""
    folder, out, is_killing = Path(sys.argv[1]), Path(sys.argv[2]), "kill" in sys.argv[3:]
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False},
    )
    second = cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE_BYTES)
    os.environ["RAY_ADDRESS"] = cluster.address
    killed: list[int] = []

    def progress(finished: StudyFinished) -> None:
        if is_killing and not killed and finished.num_done >= finished.num_studies // 2:
            cluster.remove_node(second, allow_graceful=False)
            killed.append(finished.num_done)

    settings = InferSettings(engine="ray", num_workers=2, device="cpu")
    try:
        summary = run_studies(
            find_inputs(folder), PictureWorker(out / "cases"), out, settings, DIGESTS, progress=progress
        )
    finally:
        ray.shutdown()  # a driver that is still connected keeps its node from being taken away
        cluster.shutdown()
    sys.stdout.write(f"{len(summary.case_keys)} studies, node killed after {killed}\n")
    return int(summary.exit_code)


if __name__ == "__main__":
    sys.exit(main())
