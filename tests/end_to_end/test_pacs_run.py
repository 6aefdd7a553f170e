"""From a PACS and back, and from a scanner, through the command itself, with real programs on loopback."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

import infer
from domain.errors import ExitCode
from domain.records import CaseStatus
from inference.dicomweb import FetchSummary
from inference.run_summary import RunSummary
from tests.end_to_end.conftest import ROOT, Trained, command
from tests.inference import orthanc

pytestmark = pytest.mark.skipif(find_spec("pynetdicom") is None, reason="the pacs extra is not installed")
PATIENCE_S = 300  # a busy machine


@pytest.mark.skipif(not orthanc.is_installed(), reason="Orthanc with DICOMweb is not installed")
@pytest.mark.skipif(find_spec("highdicom") is None, reason="the dicom-out extra is not installed")
def test_a_study_comes_from_a_pacs_and_its_report_and_segmentation_go_back(trained: Trained, tmp_path: Path) -> None:
    scan = next((trained.test / "scans").iterdir())
    with orthanc.running(tmp_path / "orthanc") as server:
        num_slices = server.upload(scan)
        words = [
            "infer.py", tmp_path / "in", "--model", trained.model, "--out", tmp_path / "out", "--device", "cpu",
            "--from-dicomweb", server.dicomweb, "--query", "Modality=CT",
        ]  # fmt: skip
        assert command(*words, "--formats", "csv").returncode == 0  # a study done without them is not done with them
        answer = command(*words, "--formats", "csv,dicom", "--send-back")
        assert answer.returncode == 0, answer.stderr
        assert "2 DICOM results stored" in answer.stdout
        (study,) = server.call("/studies?expand")  # type: ignore[misc]
        series = [server.call(f"/series/{name}") for name in study["Series"]]
    assert sorted(one["MainDicomTags"]["Modality"] for one in series) == ["CT", "SEG", "SR"]  # type: ignore[index]
    assert len(list((tmp_path / "in").rglob("*.dcm"))) == num_slices


@pytest.mark.parametrize(("failures", "code"), [((), ExitCode.OK), (("series 2 of 2",), ExitCode.SOME_FAILED)])
def test_a_series_that_did_not_come_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: tuple[str, ...], code: ExitCode
) -> None:
    ran = RunSummary(tmp_path, ("a",), {CaseStatus.PREDICTED: 1}, 0, {}, 0.1, 1)
    monkeypatch.setattr("inference.dicomweb.fetch_series", lambda *args: FetchSummary(2, 1, 0, failures))
    monkeypatch.setattr(infer.Session, "run", lambda session: ran)
    words = [tmp_path / "in", "--quantify-only", "--out", tmp_path / "out", "--from-dicomweb", "http://pacs"]
    assert infer.main([str(word) for word in words]) is code


@pytest.mark.skipif(shutil.which("storescu") is None, reason="dcmtk (storescu) is not installed")
def test_what_a_scanner_sends_is_run_once_it_is_complete(trained: Trained, tmp_path: Path) -> None:
    scan, out = next((trained.test / "scans").iterdir()), tmp_path / "out"
    words = ["infer.py", tmp_path / "in", "--quantify-only", "--out", out, "--formats", "csv"]
    words += ["--listen", "0", "--poll-s", "0.5", "--quiet-s", "2"]
    process = subprocess.Popen(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )
    try:
        assert process.stderr is not None
        port = re.search(r"127\.0\.0\.1:(\d+)", process.stderr.readline())
        assert port is not None
        files = sorted(map(str, scan.rglob("*.dcm")))
        subprocess.run(["storescu", "-aec", "MYOLUNG", "127.0.0.1", port[1], *files], check=True, timeout=PATIENCE_S)
        deadline = time.monotonic() + PATIENCE_S
        while not list((out / "cases").glob("*.json")):  # the tables of the rounds before are empty
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.2)
        while len(pd.read_csv(out / "predictions.csv")) == 0:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130
    finally:
        process.kill()
        process.communicate()
    (row,) = pd.read_csv(out / "predictions.csv").to_dict("records")
    assert row["status"] == "predicted"
    assert len(pd.read_csv(out / "private" / "keys.csv")) == 1
