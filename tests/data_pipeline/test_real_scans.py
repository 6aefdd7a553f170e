"""Every folder of the shared real scans gives what its README says. Skipped where the files are not there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from data_pipeline import find_series, read_volume
from data_pipeline.discovery import Survey, survey
from domain.errors import StudyError
from domain.findings import Decision, QualityCode
from domain.records import FileStatus, SeriesRef

REAL = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "real"
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="the shared real scans are not on this machine")

HARMLESS = {"soft_kernel", "unknown_kernel", "padding_below_air"}  # noted only


def codes_of(series: SeriesRef) -> set[str]:
    return {code.value for code in series.codes}


def all_codes(found: Survey) -> set[str]:
    in_series = {code.value for series in found.series for code in series.codes}
    return in_series | {record.code.value for record in found.files if record.code is not None}


@dataclass(frozen=True)
class Usable:
    folder: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    codes: frozenset[str]
    may: frozenset[str] = frozenset()


USABLE = (
    Usable("chest_dicom/covid_ct_md_P001", (512, 512, 148), (0.748046875, 0.748046875, 2.0), frozenset(),
           frozenset({"partial_lung_coverage"})),
    Usable("chest_dicom/ibsi1_pat1", (204, 201, 60), (0.977, 0.977, 3.0), frozenset({"partial_lung_coverage"})),
    Usable("chest_nifti/normal002_3mm", (128, 128, 111), (3.0, 3.0, 3.0), frozenset()),
    Usable("chest_mha/elastix_lung", (57, 78, 64), (2.732, 2.732, 5.0),
           frozenset({"partial_lung_coverage", "thick_slices"})),
    Usable("nasty/empty_sop_uid_invalid_series_uid", (512, 512, 6), (0.630859375, 0.630859375, 2.0),
           frozenset({"missing_uid", "invalid_uid", "partial_lung_coverage"}), frozenset({"too_few_slices"})),
    Usable("nasty/duplicate_instances", (204, 201, 8), (0.977, 0.977, 3.0),
           frozenset({"duplicate_slices", "partial_lung_coverage"}), frozenset({"too_few_slices"})),
    Usable("nasty/enhanced_multiframe", (24, 38, 3), (0.7, 0.7, 2.5), frozenset({"matrix_too_small"}),
           frozenset({"too_few_slices", "partial_lung_coverage"})),
    Usable("nasty/enhanced_multiframe_singles", (24, 38, 3), (0.7, 0.7, 2.5), frozenset({"matrix_too_small"}),
           frozenset({"too_few_slices", "partial_lung_coverage"})),
)  # fmt: skip


@pytest.mark.parametrize("row", USABLE, ids=lambda row: row.folder)
def test_a_usable_folder_is_read_with_its_flags_and_no_others(row: Usable) -> None:
    series = [item for item in find_series(REAL / row.folder) if item.selected]
    assert len(series) == 1
    volume = read_volume(series[0])
    assert volume.voxels.shape == row.shape
    assert np.allclose(volume.affine.spacing_mm, row.spacing_mm, atol=1e-3)
    flags = {finding.code.value for finding in volume.findings} - HARMLESS
    assert row.codes <= flags <= row.codes | row.may
    assert volume.voxels.min() >= -1024


REFUSED = (
    ("nasty/missing_slices", {"missing_slices"}),
    ("nasty/gantry_tilt", {"gantry_tilt", "not_chest"}),
    ("nasty/localizer", {"localizer"}),
    ("nasty/secondary_capture", {"secondary_capture"}),
    ("nasty/mixed_orientation_reformats", {"derived_reformat", "single_slice"}),
    ("nasty/no_pixel_data", {"no_pixel_data"}),
    ("nasty/not_dicom", {"not_dicom"}),
    ("nasty/charsets", {"wrong_modality", "secondary_capture"}),
    ("nasty/wrong_modality", {"wrong_modality"}),
    ("nasty/truncated_corrupt", {"truncated", "wrong_modality"}),
    ("nasty/no_preamble_no_meta", {"not_dicom", "wrong_modality", "single_slice"}),
    ("nasty/dicomdir_tree", {"localizer", "wrong_modality", "matrix_too_small", "missing_slices"}),
    ("nasty/transfer_syntaxes_nema_ct1", {"single_slice", "lossy_compressed"}),
    ("nasty/rle_fragments", {"single_slice"}),
    ("nasty/signed_padding", {"single_slice"}),
    ("nasty/big_endian", {"single_slice"}),
)  # fmt: skip


@pytest.mark.parametrize(("folder", "expected"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_useless_folder_gives_no_scan_and_says_why(folder: str, expected: set[str]) -> None:
    found = survey(REAL / folder)
    assert not any(series.selected for series in found.series)
    assert all(series.decision is Decision.REJECT and series.message for series in found.series)
    assert expected <= all_codes(found)


def test_missing_slices_says_where_and_how_many() -> None:
    series = find_series(REAL / "nasty/missing_slices")[0]
    finding = next(item for item in series.findings if item.code is QualityCode.MISSING_SLICES)
    assert finding.facts["num_missing"] == 2
    assert finding.facts["largest_gap_mm"] == pytest.approx(9.0, abs=1e-3)


def test_gantry_tilt_is_measured_from_positions() -> None:
    series = find_series(REAL / "nasty/gantry_tilt")[0]
    finding = next(item for item in series.findings if item.code is QualityCode.GANTRY_TILT)
    assert finding.facts["tilt_degrees"] == pytest.approx(16.5, abs=0.05)
    assert series.table.slice_gap_mm == pytest.approx(2.397, abs=1e-3)


def test_dicom_and_nifti_of_one_patient_agree_voxel_for_voxel() -> None:
    dicom = read_volume(REAL / "chest_dicom/ibsi1_pat1")
    nifti = read_volume(REAL / "chest_nifti/ibsi1_pat1/image.nii.gz")
    assert np.array_equal(dicom.voxels, nifti.voxels)
    assert np.allclose(dicom.affine.matrix, nifti.affine.matrix, atol=1e-3)
    assert dicom.content_digest == nifti.content_digest


def test_the_tumour_mask_is_not_taken_for_a_scan() -> None:
    with pytest.raises(StudyError) as caught:
        read_volume(REAL / "chest_nifti/ibsi1_pat1/tumour_mask.nii.gz")
    assert caught.value.code is QualityCode.NOT_A_CT_VOLUME


def test_enhanced_and_classic_give_equal_volumes() -> None:
    enhanced = read_volume(REAL / "nasty/enhanced_multiframe")
    classic = read_volume(REAL / "nasty/enhanced_multiframe_singles")
    assert np.array_equal(enhanced.voxels, classic.voxels)
    assert np.allclose(enhanced.affine.matrix, classic.affine.matrix, atol=1e-4)


LOSSLESS = ("CT1_UNC", "CT1_JPLL", "CT1_JLSL", "CT1_J2KR", "CT1_RLE", "CT1_HTJ2K.dcm", "CT1_DEFLATED.dcm")
LOSSY = ("CT1_JLSN", "CT1_J2KI")


def single_image(path: Path) -> np.ndarray:
    return read_volume(path, even_if_rejected=True).voxels[:, :, 0]


@pytest.mark.parametrize("name", LOSSLESS[1:])
def test_every_lossless_transfer_syntax_decodes_bit_equal(name: str) -> None:
    folder = REAL / "nasty/transfer_syntaxes_nema_ct1"
    assert np.array_equal(single_image(folder / name), single_image(folder / "CT1_UNC"))


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_images_are_flagged_and_near_the_original(name: str) -> None:
    folder = REAL / "nasty/transfer_syntaxes_nema_ct1"
    assert "lossy_compressed" in codes_of(find_series(folder / name)[0])
    difference = np.abs(single_image(folder / name).astype(int) - single_image(folder / "CT1_UNC"))
    assert difference.max() > 0
    assert difference.mean() < 30  # HU; equal to what GDCM decodes


def test_rle_in_several_fragments_decodes_bit_equal() -> None:
    other = single_image(REAL / "nasty/transfer_syntaxes_nema_ct1/CT1_UNC")
    assert np.array_equal(single_image(REAL / "nasty/rle_fragments/D_CLUNIE_CT1_RLE_FRAGS.dcm"), other)


def test_big_endian_and_bare_files_give_the_pixels_of_their_original() -> None:
    original = single_image(REAL / "nasty/big_endian/CT_small.dcm")
    assert np.array_equal(single_image(REAL / "nasty/big_endian/CT_small_big_endian.dcm"), original)
    for name in ("ct_bare_explicit.dcm", "ct_bare_implicit.dcm"):
        assert np.array_equal(single_image(REAL / "nasty/no_preamble_no_meta" / name), original)


def test_values_below_air_are_clipped_whatever_the_padding_tag_says() -> None:
    volume = read_volume(REAL / "nasty/signed_padding/lidc0001_slice.dcm", even_if_rejected=True)
    finding = next(item for item in volume.findings if item.code is QualityCode.PADDING_BELOW_AIR)
    assert finding.facts["lowest_hu"] == -2048
    assert volume.voxels.min() == -1024


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("CT_small_half.dcm", QualityCode.TRUNCATED),
        ("CT_small_header_cut.dcm", QualityCode.TRUNCATED),
        ("zero_bytes.dcm", QualityCode.TRUNCATED),
        ("jpegll_half.dcm", QualityCode.TRUNCATED),
        ("MR_truncated.dcm", QualityCode.TRUNCATED),
        ("badVR.dcm", QualityCode.WRONG_MODALITY),
    ],
)
def test_each_damaged_file_has_its_reason(name: str, code: QualityCode) -> None:
    records = {Path(record.path).name: record for record in survey(REAL / "nasty/truncated_corrupt").files}
    assert records[name].code is code
    assert records[name].status is not FileStatus.USED


def test_the_media_tree_is_found_without_its_index() -> None:
    found = survey(REAL / "nasty/dicomdir_tree")
    by_folder = {Path(series.identity.path).name: series for series in found.series if series.table.num_slices > 3}
    assert by_folder["CT5N"].table.num_slices == 5
    assert by_folder["CT5N"].table.slice_gap_mm == pytest.approx(2.5)
    assert "missing_slices" in codes_of(by_folder["CT2"])
    index = next(record for record in found.files if record.path.endswith("DICOMDIR"))
    assert (index.status, index.code) == (FileStatus.IGNORED, None)


@pytest.mark.parametrize("name", ["ras_flip", "fourd_singleton", "scl_inter_minus1024"])
def test_nifti_variants_are_equal_in_canonical_order(name: str) -> None:
    import nibabel

    def canonical(stem: str) -> tuple[np.ndarray, np.ndarray]:
        volume = read_volume(REAL / f"nasty/nifti_variants/{stem}.nii.gz")
        image = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume.voxels, volume.affine.matrix))
        return np.asarray(image.dataobj), image.affine

    voxels, affine = canonical(name)
    expected, expected_affine = canonical("lps_int16")
    assert np.array_equal(voxels, expected)
    assert np.allclose(affine, expected_affine, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("uint16_offset_not_hu", QualityCode.NOT_HU),
        ("no_sform_no_qform", QualityCode.ORIENTATION_UNKNOWN),
        ("truncated_gzip", QualityCode.TRUNCATED),
    ],
)
def test_bad_nifti_variants_are_refused_with_their_reason(name: str, code: QualityCode) -> None:
    with pytest.raises(StudyError) as caught:
        read_volume(REAL / f"nasty/nifti_variants/{name}.nii.gz")
    assert caught.value.code is code


@pytest.mark.parametrize("folder", ["chest_dicom/covid_ct_md_P001", "chest_dicom/ibsi1_pat1"])
def test_voxels_and_geometry_equal_those_of_simpleitk(folder: str) -> None:
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(REAL / folder)))
    image = reader.Execute()
    expected = np.maximum(SimpleITK.GetArrayViewFromImage(image), -1024).transpose(2, 1, 0)
    volume = read_volume(REAL / folder)
    assert np.array_equal(volume.voxels, expected)
    assert np.allclose(volume.affine.origin_mm, np.array(image.GetOrigin()) * [-1, -1, 1], atol=1e-4)
    assert np.allclose(volume.affine.spacing_mm, image.GetSpacing(), atol=1e-4)
