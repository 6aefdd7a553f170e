from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import orthanc
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from domain.errors import InputError
from inference import dicomweb
from inference.dicom_listener import ListenerSettings, listening
from inference.dicomweb import fetch_series, parse_query, send_back

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


def test_a_server_that_is_not_there_is_one_clear_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicomweb, "FIRST_PAUSE_S", 0.0)
    with pytest.raises(InputError, match="does not answer the search"):
        fetch_series(f"http://127.0.0.1:{orthanc.free_port()}/dicom-web", {}, tmp_path)


def test_a_malformed_query_is_refused() -> None:
    with pytest.raises(InputError, match="Attribute=value"):
        parse_query(["StudyDate"])
