"""Decoders that crash, hang or eat memory take down their own process only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate

from data_pipeline import find_series, read_volume
from data_pipeline.dicom_header import read_header
from data_pipeline.readers import decode_worker, decoder_process
from data_pipeline.readers.decoder_process import SharedVoxels, _Worker
from data_pipeline.readers.pixel_errors import PixelError
from domain.errors import StudyError
from domain.findings import QualityCode

MakeSeries = Callable[..., list[Path]]


def compress(paths: list[Path], uid: str, encode: Callable[[np.ndarray], bytes]) -> Path:
    for path in paths:
        dataset = pydicom.dcmread(path)
        frame = encode(dataset.pixel_array)
        dataset.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = uid
        dataset.save_as(path)
    return paths[0].parent


def encoders() -> list[tuple[str, str, Callable[[np.ndarray], bytes]]]:
    import imagecodecs

    return [
        ("jpeg lossless", "1.2.840.10008.1.2.4.70", lambda x: imagecodecs.ljpeg_encode(x, bitspersample=12)),
        ("jpeg-ls", "1.2.840.10008.1.2.4.80", imagecodecs.jpegls_encode),
        (
            "jpeg 2000",
            "1.2.840.10008.1.2.4.90",
            lambda x: imagecodecs.jpeg2k_encode(x, codecformat="j2k", reversible=True),
        ),
    ]


@pytest.mark.parametrize(
    ("number", "is_signed"),
    [(0, False), (1, False), (2, False), (2, True)],  # JPEG streams carry no sign: the header gives it
    ids=["jpeg_lossless", "jpeg_ls", "jpeg_2000", "jpeg_2000_signed"],
)
def test_compressed_series_equal_their_originals(make_series: MakeSeries, number: int, *, is_signed: bool) -> None:
    _, uid, encode = encoders()[number]
    intercept = 0 if is_signed else -1024
    original = make_series("plain", bits_stored=16 if is_signed else 12, is_signed=is_signed, intercept=intercept)
    expected = read_volume(original[0].parent)
    folder = compress(original, uid, encode)
    volume = read_volume(folder)
    assert np.array_equal(volume.voxels, expected.voxels)
    assert volume.content_digest == expected.content_digest


def test_a_wrongly_declared_codec_is_refused(make_series: MakeSeries) -> None:
    import imagecodecs

    folder = compress(make_series(), "1.2.840.10008.1.2.4.90", imagecodecs.jpegls_encode)
    with pytest.raises(StudyError) as caught:
        read_volume(folder)
    assert caught.value.code is QualityCode.WRONG_TRANSFER_SYNTAX


def test_a_code_stream_of_another_size_is_refused_before_decoding(make_series: MakeSeries) -> None:
    import imagecodecs

    huge = np.zeros((2000, 2000), dtype=np.uint16)
    folder = compress(make_series(), "1.2.840.10008.1.2.4.80", lambda _: imagecodecs.jpegls_encode(huge))
    with pytest.raises(StudyError) as caught:
        read_volume(folder)
    assert caught.value.code is QualityCode.UNREADABLE
    assert "2000 x 2000" in caught.value.message


class _Program(_Worker):
    """A decoder process that runs a few lines of our choice instead."""

    def __init__(self, program: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )


JOB: dict[str, Any] = {"buffer": "", "shape": [1, 1, 1], "slices": [[0, "", 0]], "limit_s": 1.0}


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("import os, signal; input(); os.kill(os.getpid(), signal.SIGSEGV)", QualityCode.DECODER_CRASHED),
        (
            "import signal, time; input(); signal.setitimer(signal.ITIMER_REAL, 0.1); time.sleep(60)",
            QualityCode.TIMED_OUT,
        ),
        ("import os, signal; input(); os.kill(os.getpid(), signal.SIGKILL)", QualityCode.OUT_OF_MEMORY),
        ("print('garbage'); input()", QualityCode.DECODER_CRASHED),
    ],
    ids=["crash", "hang", "killed", "garbage"],
)
def test_the_death_of_a_decoder_is_one_typed_error(program: str, code: QualityCode) -> None:
    worker = _Program(program)
    with pytest.raises(PixelError) as caught:
        worker.run(JOB)
    assert caught.value.code is code
    assert not worker.is_alive


def test_a_crash_in_one_series_leaves_the_next_readable(
    make_series: MakeSeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    import imagecodecs

    folder = compress(make_series(), "1.2.840.10008.1.2.4.80", imagecodecs.jpegls_encode)
    series = find_series(folder)[0]
    shelf = decoder_process._WorkerShelf()
    crashing = _Program("import os, signal; input(); os.kill(os.getpid(), signal.SIGSEGV)")
    shelf._idle.append(crashing)
    monkeypatch.setattr(decoder_process, "_SHELF", shelf)
    with pytest.raises(StudyError) as caught:
        read_volume(series, num_workers=1)
    assert caught.value.code is QualityCode.DECODER_CRASHED
    assert read_volume(series).voxels.shape == (64, 64, 24)
    shelf.close()


def test_the_header_of_a_file_is_parsed_once_and_again_when_it_changes(
    make_series: MakeSeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, parsed = make_series()[0], list[str]()
    monkeypatch.setattr(decode_worker, "read_header", lambda name: parsed.append(name) or read_header(name))
    for _ in range(3):
        assert decode_worker._instance(str(path), 0).source == str(path)
    assert len(parsed) == 1
    os.utime(path, (1, 1))
    decode_worker._instance(str(path), 0)
    assert len(parsed) == 2
    path.unlink()
    with pytest.raises(PixelError) as caught:
        decode_worker._instance(str(path), 0)
    assert caught.value.code is QualityCode.UNREADABLE


def test_shared_voxels_outlive_their_name() -> None:
    shared = SharedVoxels((2, 3, 4))
    shared.voxels[...] = 7
    voxels = shared.voxels
    shared.close()
    assert voxels.sum() == 7 * 24
