"""A real Orthanc on loopback with the DICOMweb plugin, for the tests that need a PACS."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def is_installed() -> bool:
    """Orthanc and its DICOMweb plugin are there."""
    return shutil.which("Orthanc") is not None and PLUGIN.exists()


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Orthanc:
    """Addresses of a running server."""

    http_port: int
    dicom_port: int

    @property
    def dicomweb(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    def call(self, path: str, data: bytes | None = None) -> object:
        """One REST request; POST with data."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", data=data)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def upload(self, folder: Path) -> int:
        """Every DICOM file of a folder."""
        files = sorted(folder.rglob("*.dcm"))
        for path in files:
            self.call("/instances", path.read_bytes())
        return len(files)


@contextmanager
def running(place: Path, modalities: dict[str, list[object]] | None = None) -> Iterator[Orthanc]:
    """Start a server with an empty store, end it afterwards."""
    server = Orthanc(free_port(), free_port())
    place.mkdir(parents=True)
    settings = {
        "Name": "test",
        "StorageDirectory": str(place / "store"),
        "IndexDirectory": str(place / "store"),
        "HttpPort": server.http_port,
        "DicomPort": server.dicom_port,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        "DicomModalities": modalities or {},
    }
    (place / "orthanc.json").write_text(json.dumps(settings))
    log = (place / "log").open("wb")
    process = subprocess.Popen(["Orthanc", str(place / "orthanc.json")], stdout=log, stderr=log)
    try:
        for _ in range(150):
            try:
                server.call("/system")
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)
        else:
            raise TimeoutError((place / "log").read_text()[-2000:])
        yield server
    finally:
        process.terminate()
        process.wait(20)
        log.close()
