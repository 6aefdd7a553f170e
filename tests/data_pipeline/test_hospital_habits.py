"""What scanners, archives and exports do to a chest series: read unchanged, read with a flag, or refused by name."""

from __future__ import annotations

import gzip
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from data_pipeline import find_series, read_volume
from data_pipeline.__main__ import main
from data_pipeline.description_words import has_contrast, lying, phase_of, plain
from data_pipeline.dicom_images import SharedFacts, typed_text
from data_pipeline.discovery import survey
from domain.errors import StudyError
from domain.findings import QualityCode

MakeSeries = Callable[..., list[Path]]
Change = Callable[[list[Path]], None]
HARMLESS = {"thick_slices", "soft_kernel", "unknown_kernel"}  # of the phantom itself


def edit(change: Callable[[Dataset, int], object]) -> Change:
    def apply(paths: list[Path]) -> None:
        for index, path in enumerate(paths):
            dataset = pydicom.dcmread(path)
            change(dataset, index)
            dataset.save_as(path, enforce_file_format=False)

    return apply


def put(keyword: str, value: object, **others: object) -> Change:
    values = {keyword: value, **others}
    return edit(lambda dataset, _: [setattr(dataset, name, to) for name, to in values.items()])


def drop(*keywords: str) -> Change:
    return edit(lambda dataset, _: [dataset.pop(keyword) for keyword in keywords])


def on_bytes(change: Callable[[bytes], bytes]) -> Change:
    def apply(paths: list[Path]) -> None:
        for path in paths:
            path.write_bytes(change(path.read_bytes()))

    return apply


def beside(paths: list[Path], number: int, change: Callable[[Dataset, int], object]) -> None:
    """Further images of the same series UID, made of its first ones."""
    for index in range(number):
        dataset = pydicom.dcmread(paths[index])
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        change(dataset, index)
        dataset.save_as(paths[0].with_name(f"beside_{index}.dcm"), enforce_file_format=False)


def other_pixels(dataset: Dataset) -> None:
    dataset.PixelData = np.roll(dataset.pixel_array, 3, axis=0).tobytes()


def second_phase(keyword: str, first: object, second: object) -> Change:
    def apply(paths: list[Path]) -> None:
        put(keyword, first)(paths)
        beside(paths, len(paths), lambda dataset, _: (other_pixels(dataset), setattr(dataset, keyword, second)))

    return apply


def phase_behind(paths: list[Path]) -> None:
    """A second phase that only the image numbers tell from the first."""
    beside(paths, len(paths), lambda item, index: (other_pixels(item), setattr(item, "InstanceNumber", 200 - index)))


def dose_sheet(paths: list[Path]) -> None:
    def change(dataset: Dataset, _: int) -> None:
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
        del dataset.ImagePositionPatient, dataset.ImageOrientationPatient

    beside(paths, 1, change)


def j2k(dataset: Dataset, _: int) -> None:
    stream = imagecodecs.jpeg2k_encode(dataset.pixel_array, codecformat="j2k", reversible=True)
    dataset.PixelData = encapsulate([bytes(stream)])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.90"


def private_sequence(data: bytes) -> bytes:
    """An UN element of undefined length, implicit inside, before the patient's name."""
    place = data.index(b"\x10\x00\x10\x00PN")
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + struct.pack("<HHI", 9, 0x1002, 4) + b"abcd"
    item += struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    head = struct.pack("<HH2sHI", 9, 0x1001, b"UN", 0, 0xFFFFFFFF)
    return data[:place] + head + item + data[place:]


def odd_length(data: bytes) -> bytes:
    place = data.rindex(b"\xe0\x7f\x10\x00OW") + 8
    length = int.from_bytes(data[place : place + 4], "little")
    return data[:place] + struct.pack("<I", length + 1) + data[place + 4 :] + b"\0"


READ_UNCHANGED: dict[str, tuple[Change, set[str]]] = {
    "a derived thin reconstruction": (put("ImageType", ["DERIVED", "PRIMARY", "AXIAL"]), set()),
    "Siemens image type": (put("ImageType", ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"]), set()),
    "Siemens axial MPR": (put("ImageType", ["DERIVED", "SECONDARY", "OTHER", "CSA MPR"]), {"derived_reformat"}),
    "GE axial average": (put("ImageType", ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"]), {"derived_reformat"}),
    "a virtual monoenergetic image": (put("SeriesDescription", "MonoE 70keV"), {"derived_reformat"}),
    "called MIP, typed original": (put("SeriesDescription", "Lung MIP 8mm"), {"derived_reformat"}),
    "low dose": (put("SeriesDescription", "Thorax LOW DOSE 1.25 B60f", ProtocolName="LOW_DOSE HRCT"), set()),
    "low dose in German": (put("ProtocolName", "Thorax Low-Dosis"), set()),
    "iodine as the agent": (put("SeriesDescription", "Thorax Iodine Contrast 1.0"), set()),
    "rescale type unspecified": (put("RescaleType", "US"), set()),
    "no image numbers": (drop("InstanceNumber"), set()),
    "one image number": (put("InstanceNumber", 1), set()),
    "acquisition number changes": (edit(lambda item, index: setattr(item, "AcquisitionNumber", index // 9)), set()),
    "slice location lies": (edit(lambda item, index: setattr(item, "SliceLocation", -3 * index)), set()),
    "feet first": (put("PatientPosition", "FFS"), set()),
    "feet first prone": (put("PatientPosition", "FFP"), {"prone"}),
    "on the side": (put("PatientPosition", "HFDR"), {"prone"}),
    "cosines with dust": (put("ImageOrientationPatient", ["1", "0", "0", "0", "1", "-6.1e-17"]), set()),
    "no thickness": (drop("SliceThickness"), set()),
    "gated, by trigger time": (second_phase("TriggerTime", "100", "500"), {"repeated_positions"}),
    "phases, by temporal position": (second_phase("TemporalPositionIdentifier", 1, 2), {"repeated_positions"}),
    "phases, by image number": (phase_behind, {"repeated_positions"}),
    "dose sheet inside the series": (dose_sheet, set()),
    "JPEG 2000": (edit(j2k), set()),
    "bytes behind the pixels": (on_bytes(lambda data: data + b"\0" * 33), set()),
    "private sequence of unknown length": (on_bytes(private_sequence), set()),
    "pixels of odd length": (on_bytes(odd_length), set()),
    "no preamble": (on_bytes(lambda data: data[132:]), set()),
    "a part that is not the chest": (put("BodyPartExamined", "ABDOMEN"), set()),
}  # fmt: skip


@pytest.mark.parametrize("name", READ_UNCHANGED)
def test_a_habit_that_harms_nothing_is_read_unchanged(make_series: MakeSeries, name: str) -> None:
    change, flags = READ_UNCHANGED[name]
    expected = read_volume(make_series("clean", uid="clean")[0].parent)
    paths = make_series()
    change(paths)
    volume = read_volume(paths[0].parent)
    assert np.array_equal(volume.voxels, expected.voxels)
    assert np.allclose(volume.affine.matrix, expected.affine.matrix, atol=1e-3)
    assert {finding.code.value for finding in volume.findings} - HARMLESS == flags


REFUSED: dict[str, tuple[Change, QualityCode]] = {
    "an iodine map by rescale type": (put("RescaleType", "MGML"), QualityCode.NOT_HU),
    "an iodine map by description": (put("SeriesDescription", "Iodine no Water[mg/ml]"), QualityCode.NOT_HU),
    "an iodine map in German": (put("SeriesDescription", "DE Jodkarte 2.0"), QualityCode.NOT_HU),
    "an iodine map in French": (put("SeriesDescription", "Carte d'iode"), QualityCode.NOT_HU),
    "a material density image": (put("SeriesDescription", "Iodine(Water) 1.25"), QualityCode.NOT_HU),
    "a dose sheet by name": (put("SeriesDescription", "Dose Report"), QualityCode.DOSE_REPORT),
    "a dose sheet in German": (put("SeriesDescription", "Dosisprotokoll"), QualityCode.DOSE_REPORT),
    "effective atomic number": (put("SeriesDescription", "Z Effective"), QualityCode.NOT_HU),
    "a perfusion map": (put("ImageType", ["DERIVED", "PRIMARY", "AXIAL", "CBF"]), QualityCode.NOT_HU),
    "minimum intensity": (put("ImageType", ["DERIVED", "SECONDARY", "AXIAL", "MINIP"]), QualityCode.DERIVED_REFORMAT),
    "a projection by name": (
        put("ImageType", ["DERIVED", "SECONDARY"], SeriesDescription="MIP"), QualityCode.DERIVED_REFORMAT,
    ),
    "two patients under one UID": (
        edit(lambda item, index: setattr(item, "PatientID", f"P{index // 12}")), QualityCode.MIXED_PATIENTS
    ),
    "colour by name": (put("PhotometricInterpretation", "YBR_RCT"), QualityCode.NOT_HU),
    "a slope of zero": (put("RescaleSlope", 0), QualityCode.NOT_A_CT_VOLUME),
    "a head": (
        put("BodyPartExamined", "HEAD", SeriesDescription="Routine"), QualityCode.NOT_CHEST,
    ),
    "no pixel spacing": (drop("PixelSpacing"), QualityCode.NO_GEOMETRY),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_hrct_is_refused_by_name(make_series: MakeSeries, name: str) -> None:
    change, code = REFUSED[name]
    paths = make_series()
    change(paths)
    series = find_series(paths[0].parent)
    with pytest.raises(StudyError) as caught:
        read_volume(paths[0].parent)
    assert code in {caught.value.code, *(code for item in series for code in item.codes)}


@pytest.mark.parametrize("intercept", [-8192, -1024])
def test_a_deep_intercept_is_read_right(make_series: MakeSeries, intercept: int) -> None:
    paths = make_series(bits_stored=16, is_signed=False, intercept=intercept)
    expected = make_series("b", uid="b", bits_stored=16, is_signed=True, intercept=0)
    assert np.array_equal(read_volume(paths[0].parent).voxels, read_volume(expected[0].parent).voxels)


def test_two_patients_in_two_series_of_one_study_are_refused_with_all_their_files(make_series: MakeSeries) -> None:
    make_series("a", uid="1")
    other = make_series("b", uid="22")
    put("PatientID", "ANOTHER")(other)
    found = survey(other[0].parent.parent)
    assert not any(item.selected for item in found.series)
    assert {(record.status.value, record.code) for record in found.files} == {("ignored", QualityCode.MIXED_PATIENTS)}


def test_of_all_that_a_modern_scanner_sends_the_thin_sharp_series_is_chosen(make_series: MakeSeries) -> None:
    """Names are those of the folders; every series but the first is worse in one way."""
    others: dict[str, Change] = {
        "scout": put("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"], ImageOrientationPatient=[1, 0, 0, 0, 0, -1]),
        "soft": put("ConvolutionKernel", "STANDARD"),
        "mip": put("ImageType", ["DERIVED", "SECONDARY", "AXIAL", "MIP"], ConvolutionKernel="LUNG"),
        "coronal": put("ImageOrientationPatient", [1, 0, 0, 0, 0, -1]),
        "iodine": put("SeriesDescription", "Iodine Density", ConvolutionKernel="LUNG"),
        "vmi": put("SeriesDescription", "MonoE 50keV", ConvolutionKernel="LUNG"),
        "expiration": put("SeriesDescription", "1.0 exspiratorisch", ConvolutionKernel="LUNG"),
        "prone": put("PatientPosition", "HFP", ConvolutionKernel="LUNG"),
        "contrast": put("SeriesDescription", "1.0 +KM", ConvolutionKernel="LUNG"),
        "lossy": put("LossyImageCompression", "01", ConvolutionKernel="LUNG"),
        "dose": put("SOPClassUID", "1.2.840.10008.5.1.4.1.1.7", SeriesDescription="Dose Report"),
    }
    put("ConvolutionKernel", "LUNG")(make_series("hrct", uid="0"))
    for number, (name, change) in enumerate(others.items(), start=1):
        folder = make_series(name, uid="1" * number)
        change(folder)
    found = find_series(folder[0].parent.parent)
    assert {Path(item.identity.path).name for item in found} == {"hrct", *others}
    assert [Path(item.identity.path).name for item in found if item.selected] == ["hrct"]
    rejected = {Path(item.identity.path).name for item in found if item.decision.value == "reject"}
    assert rejected == {"scout", "mip", "coronal", "iodine", "dose"}


# ------------------------------------------------------------------------------------------------ containers


def packed_tar(paths: list[Path]) -> None:
    with tarfile.open(paths[0].with_name("scan.tar"), "w") as archive:
        for path in paths:
            archive.add(path, path.name)


def packed_gzip(paths: list[Path]) -> None:
    for path in paths:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes(), 1))


def zip_in_zip(paths: list[Path]) -> None:
    inner = paths[0].with_name("inner")
    with zipfile.ZipFile(inner, "w") as archive:
        archive.write(paths[0], "IM1")
    with zipfile.ZipFile(paths[0].with_name("outer.zip"), "w") as archive:
        archive.write(inner, "inner.zip")
    inner.unlink()


def zip_without_extension(paths: list[Path]) -> None:
    with zipfile.ZipFile(paths[0].with_name("scan"), "w") as archive:
        archive.write(paths[0], "IM1")


@pytest.mark.parametrize("pack", [packed_tar, packed_gzip, zip_in_zip, zip_without_extension])
def test_archives_that_are_not_opened_are_named(
    make_series: MakeSeries, pack: Change, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = make_series()
    pack(paths)
    for path in paths:
        path.unlink()
    assert {record.code for record in survey(paths[0].parent).files} == {QualityCode.UNSUPPORTED_ARCHIVE}
    assert main(["inspect", str(paths[0].parent)]) == 0
    assert "unpack them" in capsys.readouterr().out


def test_an_office_document_is_no_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "letter.docx", "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
    assert survey(tmp_path).files[0].code is QualityCode.NOT_DICOM


def test_members_of_one_name_are_refused_but_the_first(make_series: MakeSeries) -> None:
    paths = make_series()
    with zipfile.ZipFile(paths[0].with_name("a.zip"), "w") as archive:
        archive.write(paths[0], "IMAGE")
        for path in paths[1:3]:
            with pytest.warns(UserWarning, match="Duplicate"):
                archive.write(path, "IMAGE")
    codes = [record.code for record in survey(paths[0].with_name("a.zip")).files]
    assert codes.count(QualityCode.UNSAFE_ARCHIVE) == 2


def test_links_that_lead_in_circles_or_back_change_nothing(make_series: MakeSeries) -> None:
    paths = make_series()
    folder = paths[0].parent
    (folder / "self").symlink_to("self")
    (folder / "here").symlink_to(".")
    (folder / "deep").mkdir()
    (folder / "deep" / "up").symlink_to("..")
    found = survey(folder)
    assert [item.table.num_files for item in found.series] == [24]
    assert [Path(record.path).name for record in found.files if record.status == "unreadable"] == ["self"]


def test_a_link_out_of_the_tree_is_followed_once(make_series: MakeSeries, tmp_path: Path) -> None:
    paths = make_series("outside")
    (tmp_path / "scans").mkdir()
    for name in ("one", "two"):
        (tmp_path / "scans" / name).symlink_to(paths[0].parent)
    assert [item.table.num_files for item in find_series(tmp_path / "scans")] == [24]


def test_paths_longer_than_usual_and_in_any_script_are_read(make_series: MakeSeries) -> None:
    paths = make_series()
    folder = paths[0].parent / ("漢字ü" * 10) / ("x" * 250) / ("y" * 250)
    folder.mkdir(parents=True)
    for path in paths:
        path.replace(folder / path.name)
    assert read_volume(paths[0].parent).voxels.shape == (64, 64, 24)


def test_nifti_is_known_by_its_bytes_and_a_pair_is_named(make_series: MakeSeries, tmp_path: Path) -> None:
    volume = read_volume(make_series()[0].parent)
    image = nibabel.Nifti1Image(volume.voxels, volume.affine.matrix)
    nibabel.save(image, tmp_path / "a.nii")
    (tmp_path / "a.nii").rename(tmp_path / "scan.dcm")
    assert np.array_equal(read_volume(tmp_path / "scan.dcm").voxels, volume.voxels)
    (tmp_path / "pair").mkdir()
    nibabel.save(nibabel.Nifti1Pair(volume.voxels, volume.affine.matrix), tmp_path / "pair" / "a.img")
    series = find_series(tmp_path / "pair")
    assert "convert them" in series[0].message


# ------------------------------------------------------------------------------------------------------ words


@pytest.mark.parametrize(
    ("text", "phase"),
    [
        ("Thorax exsp.", "expiration"), ("THORAX_EXPIRATION", "expiration"), ("TC espiración", "expiration"),
        ("Torace in espirio", "expiration"), ("Tórax expiração", "expiration"), ("HRCT ekspiryum", "expiration"),
        ("Lunge Ausatmung", "expiration"), ("胸部呼气", "expiration"), ("Thorax 呼気", "expiration"),
        ("грудь выдох", "expiration"), ("Thorax Inspiration", "inspiration"), ("Einatmung", "inspiration"),
        ("吸气", "inspiration"), ("Thorax insp + exp", None), ("expert", None), ("export", None), ("Lung 1.0", None),
    ],
)  # fmt: skip
def test_the_phase_is_read_in_many_languages(text: str, phase: str | None) -> None:
    assert phase_of(SharedFacts(series_description=text)) == phase


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Thorax +C", True), ("Thorax KM+", True), ("CT mit KM", True), ("TC torace con mdc", True), ("CTPA", True),
        ("胸部增强", True), ("Chest with contrast", True), ("Chest w/o contrast", False), ("Thorax nativ", False),
        ("TC senza mdc", False), ("Chest -C", False), ("胸部平扫", False), ("Chest routine", False),
    ],
)  # fmt: skip
def test_contrast_is_read_in_many_languages(text: str, expected: bool) -> None:
    assert has_contrast(SharedFacts(series_description=text)) is expected


@pytest.mark.parametrize("text", ["HRCT prone", "Bauchlage 1.0", "Procubitus", "decúbito prono", "腹臥位"])
def test_prone_is_read_in_many_languages(text: str) -> None:
    assert lying(SharedFacts(series_description=text)) == "prone"
    assert lying(SharedFacts(series_description="pronounced")) == ""


@pytest.mark.parametrize(
    ("text", "codec", "character_set"),
    [
        ("Thorax 呼気", "utf-8", "ISO_IR 192"), ("Thorax 呼気", "iso2022_jp", "\\ISO 2022 IR 87"),
        ("呼气", "gb18030", "GB18030"),
        ("выдох", "iso8859-5", "ISO_IR 144"), ("espiração", "latin-1", "ISO_IR 100"), ("espiração", "latin-1", ""),
        ("espiração", "utf-8", ""), ("espiração", "latin-1", "ISO_IR 192"),
    ],
)  # fmt: skip
def test_text_is_decoded_by_its_character_set(text: str, codec: str, character_set: str) -> None:
    assert typed_text(text.encode(codec), character_set) == text


def test_accents_and_case_do_not_matter() -> None:
    assert plain("ESPIRACIÓN_Tórax") == "espiracion torax"
