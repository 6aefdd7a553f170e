"""MetaImage and NRRD: the same voxels in the same place as NIfTI gives, and damage refused."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from data_pipeline import find_series, read_volume
from data_pipeline.dataset import source_fingerprint
from data_pipeline.discovery import survey
from data_pipeline.quality import load_policy
from data_pipeline.readers.metaimage import data_files, read_metaimage
from domain.errors import StudyError
from domain.findings import QualityCode


def image() -> SimpleITK.Image:
    z, y, x = np.mgrid[-1:1:44j, -1:1:66j, -1:1:70j]
    body = (x / 0.9) ** 2 + (y / 0.7) ** 2 < 1
    lungs = ((np.abs(x) - 0.42) / 0.3) ** 2 + (y / 0.45) ** 2 + (z / 0.8) ** 2 < 1
    values = np.where(lungs, -850, np.where(body, 40, -1000)) + np.random.default_rng(0).normal(0, 15, x.shape)
    result = SimpleITK.GetImageFromArray(values.astype(np.int16))
    result.SetSpacing((4.5, 4.6, 5.0))
    result.SetOrigin((-150.0, -140.0, 900.0))
    result.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, -1))
    return result


@pytest.mark.parametrize("name", ["a.mha", "a.mhd", "a.nrrd", "a.nhdr"])
@pytest.mark.parametrize("compressed", [False, True])
def test_voxels_and_place_are_those_of_nifti(tmp_path: Path, name: str, *, compressed: bool) -> None:
    SimpleITK.WriteImage(image(), str(tmp_path / name), compressed)
    SimpleITK.WriteImage(image(), str(tmp_path / "b.nii"))
    volume, expected = read_volume(tmp_path / name), read_volume(tmp_path / "b.nii")
    assert np.array_equal(volume.voxels, expected.voxels)
    assert np.allclose(volume.affine.matrix, expected.affine.matrix, atol=1e-3)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    SimpleITK.WriteImage(image(), str(path), False)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(StudyError) as caught:
        read_volume(path)
    assert caught.value.code is QualityCode.TRUNCATED


@pytest.mark.parametrize("target", ["/etc/hostname", "../other.raw", "C:\\other.raw", "LIST\n../other.raw"])
def test_data_outside_the_folder_is_not_followed(tmp_path: Path, target: str) -> None:
    SimpleITK.WriteImage(image(), str(tmp_path / "a.mhd"))
    text = (tmp_path / "a.mhd").read_text().replace("ElementDataFile = a.raw", f"ElementDataFile = {target}")
    (tmp_path / "a.mhd").write_text(text)
    series = find_series(tmp_path / "a.mhd")
    assert series[0].codes == (QualityCode.UNREADABLE,)


@pytest.mark.parametrize(
    ("name", "silent"),
    [
        ("a.mha", rb"ElementSpacing = [^\n]*\n"), ("a.mhd", rb"TransformMatrix = [^\n]*\n"),
        ("a.nrrd", rb"space: [^\n]*\n|space directions: [^\n]*\n|space origin: [^\n]*\n"),
        ("a.nhdr", rb"space: [^\n]*\n"),
    ],
)  # fmt: skip
def test_a_header_silent_of_spacing_or_orientation_is_refused(tmp_path: Path, name: str, silent: bytes) -> None:
    SimpleITK.WriteImage(image(), str(tmp_path / name), False)
    data = re.sub(silent, b"", (tmp_path / name).read_bytes())
    (tmp_path / name).write_bytes(data.replace(b"type: short", b"space dimension: 3\ntype: short"))
    assert find_series(tmp_path / name)[0].codes == (QualityCode.ORIENTATION_UNKNOWN,)
    with pytest.raises(StudyError) as caught:
        read_volume(tmp_path / name)
    assert caught.value.code is QualityCode.ORIENTATION_UNKNOWN


@pytest.mark.parametrize("name", ["a.mhd", "a.nhdr"])
def test_the_file_of_the_voxels_belongs_to_the_series(tmp_path: Path, name: str) -> None:
    SimpleITK.WriteImage(image(), str(tmp_path / name), False)
    [series] = find_series(tmp_path)
    assert [Path(file).name for file in series.files] == [name, "a.raw"]
    before = source_fingerprint(series)
    os.utime(tmp_path / "a.raw", (1, 1))
    assert source_fingerprint(series) != before


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("LIST\nb.raw\na.raw", ["b.raw", "a.raw"]), ("[x]%02d.raw 1 2 1", ["[x]01.raw", "[x]02.raw"]), ("LOCAL", []),
        ("gone.raw", []), ("../a.raw", []),
    ],
)  # fmt: skip
def test_lists_and_runs_of_data_files_are_found(tmp_path: Path, names: str, found: list[str]) -> None:
    for name in ("a.raw", "b.raw", "[x]01.raw", "[x]02.raw", "x03.raw"):
        (tmp_path / name).touch()
    (tmp_path / "a.mhd").write_text(f"NDims = 3\nElementDataFile = {names}\n")
    assert [Path(file).name for file in data_files(str(tmp_path / "a.mhd"))] == found


def test_label_maps_are_no_scans(tmp_path: Path) -> None:
    SimpleITK.WriteImage(SimpleITK.Cast(image() > -500, SimpleITK.sitkUInt8), str(tmp_path / "labels.nrrd"))
    assert survey(tmp_path).series[0].codes[0] is QualityCode.NOT_A_CT_VOLUME


def test_a_file_that_vanishes_after_the_survey_is_a_typed_failure(tmp_path: Path) -> None:
    path = tmp_path / "chest.mha"
    SimpleITK.WriteImage(image(), str(path))
    [series] = survey(tmp_path).series
    path.unlink()
    with pytest.raises(StudyError) as caught:
        read_metaimage(series, load_policy())
    assert caught.value.code is QualityCode.UNREADABLE
