"""A pseudonymised DICOM copy of a series by the basic profile of PS3.15 annex E, with dates shifted per patient.

Works by a list of what may stay; everything else goes, private and unknown attributes included, so an attribute this
program has never heard of cannot leak; overlay planes and curves are among it. Pixels are copied, but for bits above
BitsStored, where old scanners hide overlays. Text beside the patient is looked for and reported (``burned_in``), never
removed; comments inside compressed code streams are not looked for.
"""

from __future__ import annotations

import datetime
import hashlib
from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence

from data_pipeline.burned_in import slices_with_text
from data_pipeline.quality import load_policy
from data_pipeline.readers.dicom_series import read_dicom
from data_pipeline.readers.hounsfield import StoredValues, clean_bits
from data_pipeline.series_keys import keyed_hash
from data_pipeline.sources import MAX_MEMBER_BYTES, read_span
from data_pipeline.transfer_syntaxes import PixelCodec, transfer_syntax
from domain.errors import StudyError
from domain.findings import QualityCode, Stage
from domain.records import SeriesRef
from domain.whole_files import write_whole

MAX_SHIFT_DAYS = 3650
MIN_SHIFT_DAYS = 30
METHOD = "MyoLung: PS3.15 basic profile by keep list; dates shifted per patient"
PROFILE_CODES = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
)

# Technical attributes that name nobody. Sequences are entered and judged by the same list.
KEPT = frozenset(
    {
        "SpecificCharacterSet", "ImageType", "SOPClassUID", "Modality", "Manufacturer", "ManufacturerModelName",
        "BodyPartExamined", "SliceThickness", "KVP", "SpacingBetweenSlices", "DataCollectionDiameter",
        "ReconstructionDiameter", "GantryDetectorTilt", "TableHeight", "RotationDirection", "ExposureTime",
        "XRayTubeCurrent", "Exposure", "FilterType", "GeneratorPower", "FocalSpots", "ConvolutionKernel",
        "PatientPosition", "SingleCollimationWidth", "TotalCollimationWidth", "TableSpeed", "TableFeedPerRotation",
        "SpiralPitchFactor", "CTDIvol", "SeriesNumber", "AcquisitionNumber", "InstanceNumber",
        "ImagePositionPatient", "ImageOrientationPatient", "PositionReferenceIndicator", "SliceLocation",
        "TemporalPositionIdentifier", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows",
        "Columns", "PixelSpacing", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
        "SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue", "PixelPaddingRangeLimit",
        "WindowCenter", "WindowWidth", "RescaleIntercept", "RescaleSlope", "RescaleType", "LossyImageCompression",
        "LossyImageCompressionRatio", "LossyImageCompressionMethod", "BurnedInAnnotation", "PixelData",
        "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "PlanePositionSequence",
        "PlaneOrientationSequence", "PixelMeasuresSequence", "PixelValueTransformationSequence",
        "FrameContentSequence", "CTReconstructionSequence", "CTImageFrameTypeSequence", "FrameType",
        "FrameAcquisitionNumber", "TemporalPositionIndex", "DimensionIndexValues", "StackID",
        "InStackPositionNumber", "PixelPresentation", "VolumetricProperties", "VolumeBasedCalculationTechnique",
        "DimensionIndexSequence", "DimensionIndexPointer", "FunctionalGroupPointer", "FrameAnatomySequence",
        "AnatomicRegionSequence", "CodeValue", "CodingSchemeDesignator", "CodeMeaning", "FrameVOILUTSequence",
        "ContentQualification",
    }
)  # fmt: skip
EMPTIED = ("AccessionNumber", "ReferringPhysicianName", "StudyID", "PatientBirthDate", "PatientSex", "StudyTime")
REPLACED_UIDS = frozenset(
    {"SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "DimensionOrganizationUID"}
)
SHIFTED_DATES = frozenset({"StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"})


@dataclass
class Audit:
    """What happened to the attributes of a series: (keyword or tag, action) -> number of times."""

    actions: Counter[tuple[str, str]] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def rows(self, series_key: str) -> list[dict[str, str | int]]:
        """Rows of the audit table."""
        noted: list[dict[str, str | int]] = [
            {"series_key": series_key, "attribute": "", "action": note, "times": 1} for note in self.notes
        ]
        return noted + [
            {"series_key": series_key, "attribute": name, "action": action, "times": times}
            for (name, action), times in sorted(self.actions.items())
        ]


AUDIT_COLUMNS = ("series_key", "attribute", "action", "times")


def export_deidentified(series: SeriesRef, folder: Path, secret: bytes) -> Audit:
    """Write a pseudonymised copy of a series, one file per source file, in slice order.

    Args:
        series: A DICOM series.
        folder: Where to; files are named by their place in the series.
        secret: Makes pseudonyms, UIDs and date shifts; the same secret gives the same ones.

    Raises:
        StudyError: Not DICOM, text is declared to be burned in, or a file cannot be read.
    """
    if series.reader != "dicom":
        raise StudyError(Stage.WRITE, QualityCode.NOT_DICOM, "only DICOM series can be written as DICOM")
    audit = Audit()
    for place, source in enumerate(series.files, start=1):
        dataset = _read(source)
        if str(dataset.get("BurnedInAnnotation", "")).upper() == "YES":
            message = "the header declares burned-in text, which this program cannot remove"
            raise StudyError(Stage.WRITE, QualityCode.SECONDARY_CAPTURE, message)
        clean = deidentify(dataset, secret, audit)
        _clear_spare_bits(clean, audit)
        stream = BytesIO()
        pydicom.dcmwrite(stream, clean, enforce_file_format=True)
        write_whole(folder / f"IM{place:05d}.dcm", stream.getvalue())
    audit.notes += _notes_on_pixels(series, audit)
    return audit


def _notes_on_pixels(series: SeriesRef, audit: Audit) -> list[str]:
    """What a person has to know of the pixels before sharing them; the last note is for the screen."""
    removed = {name[1:3] for name, action in audit.actions if action == "removed" and name.startswith(("(60", "(50"))}
    removed |= {"60" for name, _ in audit.actions if name.startswith("Overlay")}
    removed |= {"50" for name, _ in audit.actions if name.startswith("Curve")}
    kinds = {"60": "overlay planes", "50": "curves"}
    notes = [f"{kinds[group]} were removed: they may have shown text" for group in sorted(removed)]
    notes.append("letters across the body, faces and comments in code streams were not looked for")
    try:
        suspected = slices_with_text(read_dicom(series, load_policy()).voxels)
    except StudyError as error:
        return [*notes, f"WARNING: text in the pixels was not looked for, they cannot be decoded: {error.code.value}"]
    if not suspected:
        return [*notes, "no burned-in text was found beside the patient"]
    places = ", ".join(str(place + 1) for place in suspected[:5])
    return [
        *notes,
        f"WARNING: {len(suspected)} slices seem to carry burned-in text (files {places}, ...): look at them",
    ]


def _clear_spare_bits(dataset: Dataset, audit: Audit) -> None:
    """Clear what stands above BitsStored in uncompressed 16-bit pixels; a signed value keeps its sign."""
    syntax = transfer_syntax(str(dataset.file_meta.TransferSyntaxUID))
    allocated, stored = dataset.get("BitsAllocated"), dataset.get("BitsStored")
    if syntax.codec is not PixelCodec.NATIVE or allocated != 16 or not stored or "PixelData" not in dataset:
        return
    is_signed = bool(dataset.get("PixelRepresentation"))
    order, data = ">" if syntax.encoding.is_big_endian else "<", dataset.PixelData
    raw = np.frombuffer(data[: len(data) // 2 * 2], dtype=f"{order}u2").astype(np.uint16)
    values = clean_bits(raw, StoredValues(min(int(stored), 16), is_signed, 1.0, 0.0))[0]
    if not np.array_equal(values.view(np.uint16), raw):
        dataset.PixelData = values.astype(f"{order}{'i' if is_signed else 'u'}2").tobytes()
        audit.actions["PixelData", "bits above BitsStored cleared"] += 1


def _read(source: str) -> Dataset:
    try:
        return pydicom.dcmread(BytesIO(read_span(source, 0, MAX_MEMBER_BYTES)), force=True)
    except (
        OSError,
        ValueError,
        KeyError,
        AttributeError,
        TypeError,
        EOFError,
        pydicom.errors.BytesLengthException,
    ) as error:
        raise StudyError(Stage.WRITE, QualityCode.UNREADABLE, f"cannot be copied: {type(error).__name__}") from error


def deidentify(dataset: Dataset, secret: bytes, audit: Audit) -> Dataset:
    """A copy of a data set that holds what may stay, pseudonyms, new UIDs and shifted dates.

    Args:
        dataset: As read; it is not changed.
        secret: Key of all pseudonyms.
        audit: Counts what happened.
    """
    patient = str(dataset.get("PatientID", "")) or str(dataset.get("StudyInstanceUID", ""))
    clean = _clean_level(dataset, secret, patient, audit)
    pseudonym = keyed_hash(secret, "patient", patient)
    clean.PatientName, clean.PatientID = pseudonym, pseudonym
    for keyword in EMPTIED:
        setattr(clean, keyword, "")
    if "StudyDate" not in clean:
        clean.StudyDate = ""
    if dataset.get("ContrastBolusAgent"):
        clean.ContrastBolusAgent = "CONTRAST"  # that there was any matters; its name may carry free text
    clean.PatientIdentityRemoved = "YES"
    clean.DeidentificationMethod = METHOD[:64]
    clean.LongitudinalTemporalInformationModified = "MODIFIED"
    clean.DeidentificationMethodCodeSequence = DicomSequence([_code(*code) for code in PROFILE_CODES])
    clean.file_meta = _file_meta(dataset, clean)
    return clean


def _clean_level(dataset: Dataset, secret: bytes, patient: str, audit: Audit) -> Dataset:
    clean = Dataset()
    for element in dataset:
        keyword = element.keyword
        name = keyword or f"({element.tag.group:04x},{element.tag.element:04x})"
        if keyword in REPLACED_UIDS:
            setattr(clean, keyword, new_uid(secret, str(element.value)))
            audit.actions[name, "replaced"] += 1
        elif keyword in SHIFTED_DATES:
            setattr(clean, keyword, shifted_date(str(element.value), secret, patient))
            audit.actions[name, "shifted"] += 1
        elif keyword not in KEPT:
            audit.actions[name, "removed"] += 1
        elif element.VR == "SQ":
            items = [_clean_level(item, secret, patient, audit) for item in element.value]
            setattr(clean, keyword, DicomSequence(items))
            audit.actions[name, "entered"] += 1
        else:
            clean.add(element)
            audit.actions[name, "kept"] += 1
    return clean


def new_uid(secret: bytes, uid: str) -> str:
    """A UID that stands for another, the same each time; nothing can be read off it."""
    digest = hashlib.blake2b(uid.encode(), key=hashlib.sha256(secret).digest(), digest_size=16).digest()
    return f"2.25.{int.from_bytes(digest, 'big')}"


def shift_days(secret: bytes, patient: str) -> int:
    """Days by which all dates of a patient move into the past."""
    span = MAX_SHIFT_DAYS - MIN_SHIFT_DAYS
    return MIN_SHIFT_DAYS + int(keyed_hash(secret, "shift", patient), 16) % span


def shifted_date(date: str, secret: bytes, patient: str) -> str:
    """A DICOM date moved by the patient's shift; empty where it is no date."""
    try:
        moved = datetime.datetime.strptime(date, "%Y%m%d").date() - datetime.timedelta(shift_days(secret, patient))
    except (ValueError, OverflowError):
        return ""
    return f"{moved:%Y%m%d}"


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning[:64]
    return item


def _file_meta(dataset: Dataset, clean: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = clean.get("SOPClassUID", "")
    if not clean.get("SOPInstanceUID"):
        clean.SOPInstanceUID = pydicom.uid.generate_uid(prefix="2.25.")
    meta.MediaStorageSOPInstanceUID = clean.SOPInstanceUID
    declared = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    is_implicit = dataset.original_encoding[0]
    guessed = pydicom.uid.ImplicitVRLittleEndian if is_implicit else pydicom.uid.ExplicitVRLittleEndian
    meta.TransferSyntaxUID = declared or guessed
    return meta
