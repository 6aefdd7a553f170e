"""A series, or a path that holds one, to a judged HU volume: reader, content checks, refusal by policy."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_pipeline.bright_padding import remove_bright_padding
from data_pipeline.content_checks import check_content
from data_pipeline.dicom_images import Instance
from data_pipeline.discovery import survey_with_headers
from data_pipeline.quality import QualityPolicy, load_policy
from data_pipeline.readers.dicom_series import read_dicom
from data_pipeline.readers.metaimage import read_metaimage
from data_pipeline.readers.nifti import read_nifti
from data_pipeline.readers.raw_volume import RawVolume
from data_pipeline.straightening import shear_degrees, straighten
from domain.errors import ScanFolderError, StudyError
from domain.findings import RUN_CODES, Decision, Finding, QualityCode, Severity, Stage, decide
from domain.records import SeriesRef
from domain.volume import Volume

logger = logging.getLogger(__name__)

# Reasons that lie in the machine. A decoder that crashed is none: damaged pixels do that every time.
PASSING_CODES = RUN_CODES - {QualityCode.DECODER_CRASHED}

READERS: dict[str, Callable[..., RawVolume]] = {
    "dicom": read_dicom,
    "nifti": read_nifti,
    "metaimage": read_metaimage,
}


def read_volume(
    series_or_path: SeriesRef | str | Path,
    *,
    policy: QualityPolicy | None = None,
    even_if_rejected: bool = False,
    num_workers: int | None = None,
) -> Volume:
    """Read one CT series as HU.

    Args:
        series_or_path: A series found by ``find_series``, or a path below which exactly one study is chosen from.
        policy: Severities and thresholds; the shipped ones when None.
        even_if_rejected: Read what policy refuses as long as it can be read at all, for looking at it.
        num_workers: Threads or decoder processes; as many as there are cores when None.

    Returns:
        int16 HU (I, J, K) in stored order, RAS affine in mm, findings of headers and voxels.

    Raises:
        StudyError: It cannot be read, or policy refuses it; stage and code say where and why.
        ScanFolderError: No such path.
    """
    rules = policy or load_policy()
    if isinstance(series_or_path, SeriesRef):
        return _read_one(series_or_path, rules, even_if_rejected=even_if_rejected, num_workers=num_workers)
    series, headers = _only_series(Path(series_or_path), rules, even_if_rejected=even_if_rejected)
    if even_if_rejected:
        return _read_one(series, rules, even_if_rejected=True, num_workers=num_workers, headers=headers)
    return read_study(series, policy=rules, num_workers=num_workers, headers=headers)[1]


def read_study(
    series: SeriesRef,
    *,
    policy: QualityPolicy | None = None,
    num_workers: int | None = None,
    headers: Sequence[Instance] = (),
) -> tuple[SeriesRef, Volume]:
    """Read the chosen series of a study; where it fails on its voxels, the next best one instead.

    Args:
        series: A selected series, its alternatives with it.
        policy: Severities and thresholds; the shipped ones when None.
        num_workers: As for ``read_volume``.
        headers: Of ``series``, where they have just been read.

    Returns:
        The series that was read, and its volume. When it is not the first one, both carry ``series_passed_over`` with
        the code that ruled the first one out.

    Raises:
        StudyError: No series of the study could be read: the reason of the first one; or the machine failed at one of
            them (memory, time, storage): another series must not stand for good because of a bad night.
    """
    rules = policy or load_policy()
    try:
        return series, _read_one(series, rules, num_workers=num_workers, headers=headers)
    except StudyError as error:
        if error.code in PASSING_CODES:
            raise
        first = error
    for place, other in enumerate(series.alternatives, start=1):
        try:
            volume = _read_one(other, rules, num_workers=num_workers)
        except StudyError as error:
            if error.code in PASSING_CODES:
                raise
            logger.info("a further series of the study failed too: %s", error.code.value)
            continue
        finding = _passed_over(first, place, rules)
        used = replace(
            other, selected=True, message=f"{finding.message}; it was {other.message}",
            findings=(*other.findings, finding), decision=decide((*other.findings, finding)),
        )  # fmt: skip
        return used, replace(volume, findings=(*volume.findings, finding))
    raise first


def _passed_over(first: StudyError, place: int, policy: QualityPolicy) -> Finding:
    reason = f"{first.code.value} ({first.message})"
    message = f"the series that ranked first could not be used: {reason}; number {place + 1} of the ranking was read"
    return policy.finding(
        QualityCode.SERIES_PASSED_OVER,
        message,
        failed_code=first.code.value,
        failed_stage=first.stage.value,
        rank=place + 1,
    )


def _read_one(
    series: SeriesRef,
    rules: QualityPolicy,
    *,
    even_if_rejected: bool = False,
    num_workers: int | None = None,
    headers: Sequence[Instance] = (),
) -> Volume:
    options: dict[str, Any] = {"num_workers": num_workers} | ({"instances": headers} if headers else {})
    if not even_if_rejected:
        _refuse(series.findings, Stage.SELECT)
    raw = READERS[series.reader](series, rules, **options)
    padding = _padding_findings(raw, rules)
    raw = _straightened(raw, rules)
    content = (*padding, *check_content(raw, rules))
    if not even_if_rejected:
        _refuse(content, Stage.QUALITY)
    known = set(series.codes)
    findings = (*series.findings, *(finding for finding in content if finding.code not in known))
    logger.info("read a series of %d slices: %s", raw.voxels.shape[2], decide(findings).value)
    return Volume(raw.voxels, raw.affine, raw.acquisition, findings, raw.content_digest)


def _straightened(raw: RawVolume, policy: QualityPolicy) -> RawVolume:
    """The volume with upright slices, where the gantry was tilted: all that follows takes axes for perpendicular."""
    if shear_degrees(raw.affine) <= policy.thresholds.tilt_tolerance_degrees:
        return raw
    voxels, affine = straighten(raw.voxels, raw.affine)
    return replace(raw, voxels=voxels, affine=affine)


def _padding_findings(raw: RawVolume, policy: QualityPolicy) -> tuple[Finding, ...]:
    """Take bright padding out of the volume and say so."""
    value, number = remove_bright_padding(raw.voxels)
    if not number:
        return ()
    percent = round(100 * number / raw.voxels.size, 2)
    message = f"{percent} % of the voxels hold the padding value {value} HU and were set to air"
    return (policy.finding(QualityCode.PADDING_BELOW_AIR, message, percent=percent, padding_hu=value),)


def _refuse(findings: tuple[Finding, ...], stage: Stage) -> None:
    for finding in findings:
        if finding.severity is Severity.REJECT:
            raise StudyError(stage, finding.code, finding.message)


def _only_series(
    path: Path, policy: QualityPolicy, *, even_if_rejected: bool
) -> tuple[SeriesRef, tuple[Instance, ...]]:
    """The series chosen below a path and its headers.

    Raises:
        StudyError: There is none, or one of several studies would be picked.
        ScanFolderError: No such path.
    """
    if not path.exists():
        raise ScanFolderError(f"{path}: no such file or folder")
    found, headers = survey_with_headers(path, policy=policy)
    chosen = [series for series in found.series if series.selected]
    if len(chosen) == 1:
        return chosen[0], headers.get(chosen[0].series_key, ())
    if len(chosen) > 1:
        message = f"{len(chosen)} studies below this path; name one of them, or use find_series"
        raise StudyError(Stage.SELECT, QualityCode.AMBIGUOUS_SCAN, message)
    if even_if_rejected and len(found.series) == 1:
        return found.series[0], headers.get(found.series[0].series_key, ())
    rejected = [series for series in found.series if series.decision is Decision.REJECT]
    if len(rejected) == 1:
        _refuse(rejected[0].findings, Stage.SELECT)
    codes = [record.code for record in found.files if record.code is not None]
    if not found.series and len(codes) == 1:
        raise StudyError(Stage.DISCOVER, codes[0], f"the file gives no image: {codes[0].value}")
    message = f"no usable CT series: {len(rejected)} series rejected, {len(found.files)} files looked at"
    raise StudyError(Stage.SELECT, QualityCode.NO_USABLE_SERIES, message)
