"""Peak memory of preprocessing one volume in a process that does nothing else. Started by ``preprocessing.py speed``.

python benchmarks/preprocessing_memory.py VOLUME.npy      (int16, slices first, LPS)
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from data_pipeline.graph import build_preprocess, run_graph
from domain.affine import Affine
from domain.config_files import config_path
from domain.specs import PreprocessSpec
from domain.strict_yaml import load_settings
from domain.volume import Volume

SPACING = (0.7, 0.7, 0.8)


def gib(field: str) -> float:
    """A field of this process's memory status, GiB."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(status[field].split()[0]) / 2**20


def main() -> None:
    """Measure before and after the volume is loaded, and at the end."""
    libraries, mapped = gib("VmRSS"), gib("RssFile")
    slices = np.load(sys.argv[1])
    volume = Volume(slices.transpose(2, 1, 0), Affine(np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])))
    spec = load_settings(PreprocessSpec, config_path("preprocess/isotropic_3d.yaml"))
    loaded = gib("VmRSS")
    run_graph(build_preprocess(spec), volume)
    peak = gib("VmHWM")
    print(f"Peak memory of a process that holds the volume and runs the whole graph once: {peak:.2f} GiB, of which")
    print(f"libraries {libraries:.2f} ({mapped:.2f} of it shared files), the volume {loaded - libraries:.2f},")
    print(f"the graph with its results {peak - loaded:.2f}.")


if __name__ == "__main__":
    main()
