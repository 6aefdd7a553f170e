"""One batch run as a program of its own, to be killed: ``python torture_program.py INPUT OUT NUM_STUDIES``."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import runner_workers

from domain.errors import OutputFolderError
from domain.records import CaseResult, CaseStatus, StudyTask
from domain.settings import InferSettings
from domain.whole_files import write_whole
from inference import run_studies

DIGESTS = {"model": "torture", "graph": "none"}


@dataclass(frozen=True)
class PictureWorker:
    """Rejects what says so, else writes a picture and gives a result; takes a few milliseconds like a tiny study."""

    cases_dir: Path

    def __call__(self) -> PictureWorker:
        return _Working(self.cases_dir)


class _Working(PictureWorker):
    def __call__(self, task: StudyTask) -> CaseResult:  # type: ignore[override]
        text = Path(task.series.files[0]).read_text()
        if text.startswith(("reject", "crash")):
            return runner_workers.act(task)
        time.sleep(0.02)
        name = f"{task.case_key}_axial.png"
        write_whole(self.cases_dir / name, (task.case_key * 500).encode())
        return CaseResult(
            case_key=task.case_key,
            status=CaseStatus.PREDICTED,
            scan_facts={"text": text, "filler": task.case_key * 100},
            pictures={name: "axial"},
        )


def make_inputs(folder: Path, num_studies: int) -> list[StudyTask]:
    """Studies of which some are refused and one crashes its process, always the same."""
    words = {3: "reject", 7: "crash", 11: "reject"}
    return [
        runner_workers.make_task(folder, f"case{index:03d}", words.get(index, f"ok {index}"))
        for index in range(num_studies)
    ]


def find_inputs(folder: Path) -> list[StudyTask]:
    """The same studies, without touching their files."""
    tasks = []
    for path in sorted(folder.glob("case*.txt")):
        task = runner_workers.task_of(path)
        tasks.append(task)
    return tasks


def main() -> int:
    """Run, and end as infer.py does."""
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    settings = InferSettings(num_workers=2, device="cpu")
    try:
        summary = run_studies(find_inputs(folder), PictureWorker(out / "cases"), out, settings, DIGESTS)
    except OutputFolderError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return int(summary.exit_code)


if __name__ == "__main__":
    sys.exit(main())
