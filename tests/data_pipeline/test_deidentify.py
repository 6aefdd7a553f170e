"""The pseudonymised copy: same pixels and geometry, nothing identifying, consistent across files and runs."""

from __future__ import annotations

import datetime
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from data_pipeline import read_volume
from data_pipeline.__main__ import main
from data_pipeline.burned_in import letter_marks, slices_with_text
from data_pipeline.deidentify import KEPT, Audit, deidentify, new_uid, shift_days, shifted_date

MakeSeries = Callable[..., list[Path]]
REAL = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "real"
SECRETS = {
    (0x0010, 0x0010): ("PN", "DOE^JANE"), (0x0008, 0x0080): ("LO", "ST ELSEWHERE"),
    (0x0008, 0x1010): ("SH", "STATION7"),
    (0x0010, 0x4000): ("LT", "COMMENT ABOUT JANE"), (0x0008, 0x103E): ("LO", "Thorax DOE"),
    (0x0009, 0x0010): ("LO", "PRIVATE DOE"), (0x0008, 0x0090): ("PN", "DR WHO"), (0x0010, 0x0030): ("DA", "19610203"),
    (0x0008, 0x0020): ("DA", "20200305"), (0x0018, 0x1000): ("LO", "SERIAL99"), (0x0008, 0x0050): ("SH", "ACC4711"),
}  # fmt: skip
WORDS = [
    b"DOE",
    b"JANE",
    b"ELSEWHERE",
    b"STATION7",
    b"WHO",
    b"19610203",
    b"20200305",
    b"SERIAL99",
    b"ACC4711",
    b"INVENTED",
]


@pytest.fixture
def exported(make_series: MakeSeries, tmp_path: Path) -> tuple[Path, Path]:
    folder = make_series(elements=SECRETS)[0].parent
    assert main(["export", str(folder), "--out", str(tmp_path / "out"), "--deidentify"]) == 0
    return folder, tmp_path / "out"


def copies(out: Path) -> list[Path]:
    return sorted((out / "dicom").rglob("*.dcm"))


def test_voxels_and_place_stay_the_same(exported: tuple[Path, Path]) -> None:
    folder, out = exported
    before, after = read_volume(folder), read_volume(out / "dicom")
    assert np.array_equal(before.voxels, after.voxels)
    assert np.allclose(before.affine.matrix, after.affine.matrix)


def test_nothing_identifying_is_left_outside_private(exported: tuple[Path, Path]) -> None:
    folder, out = exported
    original = pydicom.dcmread(next(folder.iterdir()))
    words = [*WORDS, original.StudyInstanceUID.encode(), original.SOPInstanceUID.encode()]
    public = [path for path in out.rglob("*") if path.is_file() and "private" not in path.parts]
    assert len(public) > 24
    for path in public:
        data = path.read_bytes()
        header = data[: data.find(b"\xe0\x7f\x10\x00")] if path.suffix == ".dcm" else data
        assert [word for word in words if word in header] == []


def test_the_copy_says_what_was_done(exported: tuple[Path, Path]) -> None:
    dataset = pydicom.dcmread(copies(exported[1])[0])
    assert dataset.PatientIdentityRemoved == "YES"
    assert [item.CodeValue for item in dataset.DeidentificationMethodCodeSequence] == ["113100", "113107"]
    assert not any(element.tag.is_private for element in dataset.iterall())
    audit = next((exported[1] / "private").glob("audit_*.csv")).read_text()
    assert "no burned-in text was found" in audit
    assert "were not looked for" in audit
    assert "InstitutionName,removed" in audit


def test_dates_move_together_and_within_bounds() -> None:
    first, second = (shifted_date(date, b"s", "patient") for date in ("20200305", "20200412"))
    days = [datetime.datetime.strptime(date, "%Y%m%d").date() for date in (first, second)]
    assert (days[1] - days[0]).days == 38
    assert 30 <= shift_days(b"s", "patient") < 3650
    assert shift_days(b"s", "patient") != shift_days(b"s", "other")
    assert shifted_date("no date", b"s", "patient") == ""


def test_uids_are_replaced_the_same_way_each_time() -> None:
    assert new_uid(b"s", "1.2.3") == new_uid(b"s", "1.2.3") != new_uid(b"t", "1.2.3")
    assert pydicom.uid.UID(new_uid(b"s", "1.2.3")).is_valid


def test_attributes_nobody_has_heard_of_are_removed_at_every_depth() -> None:
    dataset, inner = Dataset(), Dataset()
    inner.PatientComments = "JANE"
    inner.ImagePositionPatient = [1, 2, 3]
    dataset.PlanePositionSequence = [inner]
    dataset.SOPInstanceUID = "1.2.3"
    dataset.add_new((0x0011, 0x1001), "LO", "JANE")
    dataset.set_original_encoding(False, True)
    clean = deidentify(dataset, b"s", Audit())
    assert "JANE" not in str(clean)
    assert clean.PlanePositionSequence[0].ImagePositionPatient == [1, 2, 3]


def test_the_keep_list_names_real_attributes_and_no_person() -> None:
    unknown = [keyword for keyword in KEPT if pydicom.datadict.tag_for_keyword(keyword) is None]
    assert unknown == []
    groups = {pydicom.datadict.tag_for_keyword(keyword) >> 16 for keyword in KEPT}
    assert 0x0010 not in groups
    assert not {keyword for keyword in KEPT if "Comment" in keyword or "Name" in keyword} - {"ManufacturerModelName"}


def test_declared_burned_in_text_is_refused(make_series: MakeSeries, tmp_path: Path) -> None:
    folder = make_series(elements={(0x0028, 0x0301): ("CS", "YES")})[0].parent
    assert main(["export", str(folder), "--out", str(tmp_path / "out"), "--deidentify"]) == 1
    assert not copies(tmp_path / "out")


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools are not installed")
def test_an_outside_validator_finds_no_error_that_the_original_lacks(exported: tuple[Path, Path]) -> None:
    def errors(path: Path) -> set[str]:
        answer = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        return {line for line in answer.stderr.splitlines() if line.startswith("Error")}

    folder, out = exported
    assert errors(copies(out)[0]) <= errors(next(folder.iterdir()))


def small_chest(num_slices: int, side: int) -> np.ndarray:
    z, y, x = np.mgrid[-1 : 1 : num_slices * 1j, -1 : 1 : side * 1j, -1 : 1 : side * 1j]
    body = (x / 0.85) ** 2 + (y / 0.65) ** 2 < 1
    lungs = ((np.abs(x) - 0.42) / 0.3) ** 2 + (y / 0.45) ** 2 + (z / 2) ** 2 < 1
    values = np.where(lungs, -850, np.where(body, 40, -1000))
    return (values + np.random.default_rng(0).normal(0, 15, values.shape)).astype(np.int16)


def letters(text_rows: int = 7) -> np.ndarray:
    """The word MYO MYO in a 5 x 7 font, as 0/1."""
    font = {
        "M": ("10001", "11011", "10101", "10001", "10001", "10001", "10001"),
        "Y": ("10001", "10001", "01010", "00100", "00100", "00100", "00100"),
        "O": ("01110", "10001", "10001", "10001", "10001", "10001", "01110"),
        " ": ("00000",) * 7,
    }
    return np.array([[int(bit) for letter in "MYO MYO" for bit in font[letter][row] + "0"] for row in range(text_rows)])


@pytest.mark.parametrize("scale", [1, 2])
def test_letters_beside_the_patient_are_found_and_anatomy_is_not(scale: int) -> None:
    voxels = small_chest(6, 256)
    assert [letter_marks(plane) for plane in voxels] == [0] * 6
    word = np.kron(letters(), np.ones((scale, scale), dtype=int)).astype(bool)
    voxels[3, 4 : 4 + word.shape[0], 4 : 4 + word.shape[1]][word] = 3071
    assert slices_with_text(voxels.transpose(2, 1, 0)) == (3,)


@pytest.mark.skipif(not REAL.is_dir(), reason="the shared real scans are not on this machine")
@pytest.mark.parametrize("name", ["covid_ct_md_P001", "ibsi1_pat1"])
def test_real_scans_hold_no_letters(name: str) -> None:
    assert slices_with_text(read_volume(REAL / "chest_dicom" / name).voxels) == ()


def test_suspected_text_overlays_and_spare_bits_are_reported(
    make_series: MakeSeries, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = make_series(elements={(0x6000, 0x0010): ("US", 8), (0x6000, 0x3000): ("OW", b"\1" * 8)})
    expected = read_volume(paths[0].parent).voxels
    for index, path in enumerate(paths):
        dataset = pydicom.dcmread(path)
        pixels = dataset.pixel_array.astype(np.uint16)
        if index == 5:
            pixels[2:9, 2:44][letters().astype(bool)] = 4000
        if index == 7:
            pixels[::7] |= 0x8000  # an overlay in the high bits
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(path)
    out = tmp_path / "out"
    assert main(["export", str(paths[0].parent), "--out", str(out), "--deidentify"]) == 0
    audit = next((out / "private").glob("audit_*.csv")).read_text()
    assert "overlay planes were removed" in audit
    assert "1 slices seem to carry burned-in text (files 6" in audit
    assert "PixelData,bits above BitsStored cleared,1" in audit
    assert "burned-in text" in capsys.readouterr().err
    seventh = pydicom.dcmread(copies(out)[7])
    assert seventh.pixel_array.max() < 4096
    assert np.array_equal(np.delete(read_volume(out / "dicom").voxels, 5, axis=2), np.delete(expected, 5, axis=2))
