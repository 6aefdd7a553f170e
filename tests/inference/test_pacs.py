from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orthanc
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from domain.errors import InputError
from domain.records import CaseResult, CaseStatus
from inference import dicomweb
from inference.dicom_listener import ListenerSettings, listening
from inference.dicomweb import COMPLETE_MARK, fetch_series, parse_query, send_back
from inference.incoming import send_results
from inference.ledger import dicom_digests

pytest.importorskip("pynetdicom", reason="the pacs extra is not installed")
needs_storescu = pytest.mark.skipif(shutil.which("storescu") is None, reason="dcmtk (storescu) is not installed")
needs_orthanc = pytest.mark.skipif(not orthanc.is_installed(), reason="Orthanc with DICOMweb is not installed")
ANY_PORT = ListenerSettings(port=0)


def write_series(folder: Path, num_slices: int = 5, modality: str = "CT", date: str = "20240105") -> list[Path]:
    """A tiny series, as a scanner would send it."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series, paths = generate_uid(), generate_uid(), []
    for index in range(num_slices):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        data.StudyInstanceUID, data.SeriesInstanceUID = study, series
        data.PatientID, data.PatientName, data.Modality, data.StudyDate = "P1", "Nobody", modality, date
        data.Rows, data.Columns, data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 16, 16, 15
        data.PixelRepresentation, data.SamplesPerPixel, data.PhotometricInterpretation = 0, 1, "MONOCHROME2"
        data.InstanceNumber = index + 1
        data.PixelData = np.full((8, 8), index, np.uint16).tobytes()
        path = folder / f"{index}.dcm"
        data.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def send(port: int, paths: list[Path], ae_title: str = "MYOLUNG") -> int:
    command = ["storescu", "-aec", ae_title, "127.0.0.1", str(port), *map(str, paths)]
    return subprocess.run(command, capture_output=True, timeout=60).returncode


def received(folder: Path) -> dict[str, bytes]:
    """Pixels by SOP instance UID."""
    return {
        str(pydicom.dcmread(path).SOPInstanceUID): pydicom.dcmread(path).PixelData for path in folder.rglob("*.dcm")
    }


@needs_storescu
def test_what_storescu_sends_is_filed_as_sent_and_twice_is_once(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "scanner")
    with listening(tmp_path / "in", ANY_PORT) as reception:
        assert send(reception.port, paths) == 0
        assert send(reception.port, paths) == 0
        assert reception.num_stored == 10
    assert received(tmp_path / "in") == received(tmp_path / "scanner")
    names = " ".join(str(path.relative_to(tmp_path / "in")) for path in (tmp_path / "in").rglob("*"))
    assert str(pydicom.dcmread(paths[0]).StudyInstanceUID) not in names


@needs_storescu
def test_an_association_to_another_title_is_refused(tmp_path: Path) -> None:
    with listening(tmp_path / "in", ANY_PORT) as reception:
        assert send(reception.port, write_series(tmp_path / "scanner"), "SOMEONE") != 0
        assert reception.num_stored == 0


@needs_storescu
def test_a_full_disk_is_told_to_the_sender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.dicom_listener.has_room", lambda folder, size: False)
    with listening(tmp_path / "in", ANY_PORT) as reception:
        send(reception.port, write_series(tmp_path / "scanner"))
        assert (reception.num_stored, reception.num_refused > 0) == (0, True)


def test_a_broken_association_keeps_what_came_whole(tmp_path: Path) -> None:
    from pynetdicom import AE

    paths = write_series(tmp_path / "scanner")
    with listening(tmp_path / "in", ANY_PORT) as reception:
        sender = AE()
        sender.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        association = sender.associate("127.0.0.1", reception.port, ae_title="MYOLUNG")
        for path in paths[:2]:
            association.send_c_store(pydicom.dcmread(path))
        association.abort()
        deadline = time.monotonic() + 10
        while not reception.num_broken and time.monotonic() < deadline:
            time.sleep(0.05)
        assert reception.num_broken == 1
        with socket.create_connection(("127.0.0.1", reception.port)) as noise:
            noise.sendall(b"GET / HTTP/1.1\r\n\r\n")
        association = sender.associate("127.0.0.1", reception.port, ae_title="MYOLUNG")
        for path in paths:
            assert association.send_c_store(pydicom.dcmread(path)).Status == 0
        association.release()
    assert received(tmp_path / "in") == received(tmp_path / "scanner")
    assert not list((tmp_path / "in").rglob("*.partial"))


def leave_remains(folder: Path) -> tuple[Path, Path]:
    """A half-written slice and a half-fetched series, as a power cut leaves them; and their names."""
    slice_, series = folder / "study" / ".0123456789abcdef.dcm.7-0a0b0c0d.partial", folder / ".x.7-0a0b0c0d.partial"
    for path in (slice_, series / "0.dcm"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    return slice_, series


@pytest.mark.parametrize(("age_s", "num_left"), [(0, 2), (7200, 0)], ids=["being written", "of a killed program"])
def test_the_listener_removes_old_remains_at_its_start(tmp_path: Path, age_s: float, num_left: int) -> None:
    remains = leave_remains(tmp_path / "in")
    (tmp_path / "in" / "notes.partial").write_text("the user's own")
    for path in (*remains, tmp_path / "in" / "notes.partial"):
        os.utime(path, (time.time() - age_s,) * 2)
    with listening(tmp_path / "in", ANY_PORT):
        assert sum(path.exists() for path in remains) == num_left
    assert (tmp_path / "in" / "notes.partial").exists()


def test_a_taken_port_is_one_clear_message(tmp_path: Path) -> None:
    with listening(tmp_path / "in", ANY_PORT) as reception:
        taken = ListenerSettings(port=reception.port)
        with pytest.raises(InputError, match="cannot listen"), listening(tmp_path / "other", taken):
            pass


@needs_orthanc
def test_a_query_fetches_ct_series_once_and_results_go_back(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "pacs" / "ct")
    write_series(tmp_path / "pacs" / "old", date="19990101")
    write_series(tmp_path / "pacs" / "mr", modality="MR")
    with orthanc.running(tmp_path / "orthanc") as server:
        assert server.upload(tmp_path / "pacs") == 15
        filters = parse_query(["StudyDate=20240101-20241231"])
        first = fetch_series(server.dicomweb, filters, tmp_path / "in")
        assert (first.num_series, first.num_fetched, first.failures) == (1, 1, ())
        assert received(tmp_path / "in") == {
            str(pydicom.dcmread(path).SOPInstanceUID): pydicom.dcmread(path).PixelData for path in paths
        }
        next((tmp_path / "in").rglob("*.dcm")).unlink()
        assert fetch_series(server.dicomweb, filters, tmp_path / "in").num_fetched == 1
        assert fetch_series(server.dicomweb, filters, tmp_path / "in").num_kept == 1
        result = write_series(tmp_path / "result", 1)
        assert send_back(server.dicomweb, result) == 1
        assert len(server.call("/instances")) == 16  # type: ignore[arg-type]


@needs_orthanc
def test_orthanc_sends_to_the_listener(tmp_path: Path) -> None:
    write_series(tmp_path / "pacs")
    with listening(tmp_path / "in", ANY_PORT) as reception:
        peers: dict[str, list[object]] = {"myolung": ["MYOLUNG", "127.0.0.1", reception.port]}
        with orthanc.running(tmp_path / "orthanc", peers) as server:
            server.upload(tmp_path / "pacs")
            (series,) = server.call("/series")  # type: ignore[misc]
            server.call("/modalities/myolung/store", series.encode())
    assert received(tmp_path / "in") == received(tmp_path / "pacs")


@dataclass
class FakeServer:
    """A DICOMweb client whose server is made of lists.

    Attributes:
        listed: What the search finds.
        instances: Series UID -> files, or an error among them where the transfer breaks.
        page_size: Results of one answer.
        knows_offset: False: every page is the first one.
    """

    listed: list[dict[str, Any]]
    instances: dict[str, Sequence[Path | Exception]] = field(default_factory=dict)
    page_size: int = 100
    knows_offset: bool = True

    def search_for_series(self, *, search_filters: object, offset: int | None) -> list[dict[str, Any]]:
        start = (offset or 0) if self.knows_offset else 0
        return self.listed[start : start + self.page_size]

    def iter_series(self, study_uid: str, series_uid: str, media_types: object) -> Iterator[pydicom.Dataset]:
        for item in self.instances[series_uid]:
            if isinstance(item, Exception):
                raise item
            yield pydicom.dcmread(item)


Offer = Callable[[FakeServer], None]


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Offer:
    """Make a fake server the one that is asked."""
    monkeypatch.setattr(dicomweb, "FIRST_PAUSE_S", 0.0)
    return lambda server: monkeypatch.setattr(dicomweb, "_client", lambda url: server)


def listed(study_uid: str, series_uid: str) -> dict[str, Any]:
    """A series as a search shows it."""
    return {"0020000D": {"vr": "UI", "Value": [study_uid]}, "0020000E": {"vr": "UI", "Value": [series_uid]}}


def test_half_a_series_never_becomes_a_scan(tmp_path: Path, offer: Offer) -> None:
    paths = write_series(tmp_path / "pacs")
    server = FakeServer([listed("1.1", "1.2")], {"1.2": [*paths[:3], OSError("the line broke")]})
    offer(server)
    came = fetch_series("", {}, tmp_path / "in")
    assert (came.num_fetched, len(came.failures)) == (0, 1)
    assert not list((tmp_path / "in").rglob("*.dcm*"))
    server.instances["1.2"] = paths
    assert fetch_series("", {}, tmp_path / "in").num_fetched == 1
    assert received(tmp_path / "in") == received(tmp_path / "pacs")
    assert fetch_series("", {}, tmp_path / "in").num_kept == 1


def test_a_series_that_was_there_in_part_is_filled_up_and_loses_nothing(tmp_path: Path, offer: Offer) -> None:
    paths = write_series(tmp_path / "pacs", 6)
    server = FakeServer([listed("1.1", "1.2")], {"1.2": paths[:4]})
    offer(server)
    fetch_series("", {}, tmp_path / "in")
    next((tmp_path / "in").rglob(COMPLETE_MARK)).unlink()
    server.instances["1.2"] = paths[2:]
    assert fetch_series("", {}, tmp_path / "in").num_fetched == 1
    assert received(tmp_path / "in") == received(tmp_path / "pacs")
    assert fetch_series("", {}, tmp_path / "in").num_kept == 1
    assert not list((tmp_path / "in").rglob("*.partial"))


def test_one_odd_series_does_not_end_the_fetch(tmp_path: Path, offer: Offer) -> None:
    paths = write_series(tmp_path / "pacs" / "good")
    nameless = write_series(tmp_path / "pacs" / "odd", 1)
    data = pydicom.dcmread(nameless[0])
    del data.SOPInstanceUID
    data.save_as(nameless[0])
    without_uid = {"0020000D": {"vr": "UI", "Value": []}, "0020000E": {"vr": "UI"}}
    found = [without_uid, listed("1.0", "1.0"), listed("1.1", "1.2")]
    offer(FakeServer(found, {"1.0": nameless, "1.2": paths}))
    came = fetch_series("", {}, tmp_path / "in")
    assert (came.num_series, came.num_fetched, len(came.failures)) == (3, 1, 2)
    assert received(tmp_path / "in") == received(tmp_path / "pacs" / "good")


@pytest.mark.parametrize(("knows_offset", "num_found"), [(True, 5), (False, 2)])
def test_a_search_is_read_to_its_last_page(tmp_path: Path, offer: Offer, knows_offset: bool, num_found: int) -> None:
    paths = write_series(tmp_path / "pacs", 1)
    found = [listed("1.1", f"1.2.{number}") for number in range(5)]
    instances = {f"1.2.{number}": paths for number in range(5)}
    offer(FakeServer(found, instances, page_size=2, knows_offset=knows_offset))
    assert fetch_series("", {}, tmp_path / "in").num_fetched == num_found


def test_a_server_that_is_not_there_is_one_clear_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicomweb, "FIRST_PAUSE_S", 0.0)
    with pytest.raises(InputError, match="does not answer the search"):
        fetch_series(f"http://127.0.0.1:{orthanc.free_port()}/dicom-web", {}, tmp_path)


def test_only_what_this_run_made_is_sent_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, sent, said = tmp_path / "private" / "dicom", list[str](), list[str]()
    folder.mkdir(parents=True)
    for name in ("a_sr.dcm", "a_seg.dcm", "b_sr.dcm", "gone_sr.dcm"):
        (folder / name).write_bytes(b"result")
    made = CaseResult(case_key="a", status=CaseStatus.PREDICTED, digests=dicom_digests(["a_sr.dcm", "a_seg.dcm"]))
    refused = CaseResult(case_key="b", status=CaseStatus.REJECTED)
    monkeypatch.setattr(
        dicomweb, "send_back", lambda url, files: sent.extend(path.name for path in files) or len(files)
    )
    send_results("http://pacs", [made, refused], tmp_path, said.append)
    assert sent == ["a_seg.dcm", "a_sr.dcm"]
    assert said == ["2 DICOM results stored on http://pacs"]


def test_a_malformed_query_is_refused() -> None:
    with pytest.raises(InputError, match="Attribute=value"):
        parse_query(["StudyDate"])
