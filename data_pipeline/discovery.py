"""From a folder as the hospital sent it to series with keys, findings and a choice. Reads headers, never a voxel."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from data_pipeline.description_words import names_other_region, phase_of
from data_pipeline.dicom_images import Instance
from data_pipeline.geometry import ROUNDING_MM
from data_pipeline.header_scan import METAIMAGE_SUFFIXES, Progress, scan_headers
from data_pipeline.image_shelf import ImageShelf
from data_pipeline.quality import QualityPolicy, load_policy
from data_pipeline.readers.metaimage import data_files, describe_metaimage
from data_pipeline.readers.nifti import describe_nifti
from data_pipeline.selection import SelectionOverrides, select_series
from data_pipeline.series_building import Candidate, build_candidates, series_key_of
from data_pipeline.series_checks import check_series
from data_pipeline.series_keys import keyed_hash
from data_pipeline.source_listing import list_sources
from data_pipeline.spool import FileListing
from data_pipeline.transfer_syntaxes import transfer_syntax
from domain.archive_members import split_source
from domain.errors import ScanFolderError
from domain.file_names import FileNames
from domain.findings import Decision, Finding, QualityCode, Severity, decide
from domain.records import FileRecord, FileStatus, SeriesRef, SeriesTable, SourceIdentity


@dataclass(frozen=True, slots=True)
class Survey:
    """All that was found below a folder.

    Attributes:
        series: Every series, chosen or not, studies together.
        files: Every file that is no image of a series, and every image, with what became of it.
    """

    series: tuple[SeriesRef, ...]
    files: Sequence[FileRecord]


def survey(
    scans: str | Path,
    *,
    progress: Progress | None = None,
    secret: bytes | None = None,
    policy: QualityPolicy | None = None,
    overrides: SelectionOverrides | None = None,
    num_threads: int | None = None,
) -> Survey:
    """Find every series below a folder, judge it by its headers and choose one per study.

    Args:
        scans: Folder, DICOM file, zip archive, NIfTI or MetaImage file.
        progress: Called with the number of files scanned so far, now and then.
        secret: Key of the hash that makes series and study keys; a new one per process when None.
        policy: Severities and thresholds; the shipped ones when None.
        overrides: A user's own choice of series.
        num_threads: For the header scan; one, or many where files are waited for, when None.

    Raises:
        ScanFolderError: No such file or folder.
    """
    root = Path(scans)
    if not root.exists():
        raise ScanFolderError(f"{root}: no such file or folder; SCANS is a folder, a DICOM file, a zip or a NIfTI file")
    return survey_with_headers(
        root, progress=progress, secret=secret, policy=policy, overrides=overrides, num_threads=num_threads
    )[0]


def survey_with_headers(
    root: Path,
    *,
    progress: Progress | None = None,
    secret: bytes | None = None,
    policy: QualityPolicy | None = None,
    overrides: SelectionOverrides | None = None,
    num_threads: int | None = None,
) -> tuple[Survey, dict[str, tuple[Instance, ...]]]:
    """As ``survey``, with the headers of each DICOM series by key, for reading at once what was just found.

    The headers are there for trees that fit into memory, which is every tree of one study or of fifty.
    """
    rules = policy or load_policy()
    shelf, files, found = ImageShelf(series_key_of), FileListing(), list[SeriesRef]()
    patients: dict[str, set[str]] = defaultdict(set)  # by study
    for item in scan_headers(list_sources(root), progress, num_threads):
        if isinstance(item, Instance):
            patients[shelf.add(item)[0]].add(item.shared.patient_id)
        elif item.status is FileStatus.USED:
            found.append(_volume_ref(item.path, rules, secret))
            files.extend([_volume_record(found[-1])])
        else:
            files.extend([item])
    headers: dict[str, tuple[Instance, ...]] = {}
    is_large = shelf.is_on_disk
    for key, group in shelf.take_all():
        mixture = _mixture_findings(patients[key[0]], rules)
        for candidate in build_candidates(key, group, rules):
            found.append(_series_ref(candidate, rules, secret, mixture))
            files.extend(_file_records(candidate, found[-1]))
            if not is_large:
                headers[found[-1].series_key] = candidate.instances
    return Survey(select_series(sorted(found, key=_reading_order), overrides), files), headers


def _mixture_findings(patients: set[str], policy: QualityPolicy) -> tuple[Finding, ...]:
    """Refuse studies whose images name several patients: UIDs that were reused would mix people up."""
    number = len(patients - {""})
    if number < 2:
        return ()
    message = f"the images of this study name {number} patients: a study UID was used more than once"
    return (policy.finding(QualityCode.MIXED_PATIENTS, message, num_patients=number),)


def _reading_order(series: SeriesRef) -> tuple[str, str, str]:
    """The same in every run: keys depend on the secret and play no part; parts of a series stay in their order."""
    return series.identity.study_uid, series.identity.path, series.identity.series_uid


# ------------------------------------------------------------------------------------------------- references


def _series_ref(
    candidate: Candidate, policy: QualityPolicy, secret: bytes | None, mixture: tuple[Finding, ...]
) -> SeriesRef:
    findings = (*check_series(candidate, policy), *mixture)
    instances = candidate.instances
    files = tuple(dict.fromkeys(item.source for item in instances))
    shared = instances[0].shared
    return SeriesRef(
        series_key=keyed_hash(secret, "series", candidate.study, candidate.series, candidate.part),
        study_key=keyed_hash(secret, "study", candidate.study),
        reader="dicom",
        files=FileNames.of(files),
        table=_table(candidate, len(files)),
        findings=findings,
        decision=decide(findings),
        identity=SourceIdentity(
            study_uid=shared.study_uid,
            series_uid=shared.series_uid,
            patient_id=shared.patient_id,
            study_date=shared.study_date,
            path=_common_folder(files),
            description=shared.series_description,
        ),
        frame_order=_frame_order(instances, files),
        names_other_region=names_other_region(shared),
    )


def _frame_order(instances: tuple[Instance, ...], files: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    if all(item.num_frames == 1 for item in instances):
        return ()
    places = {source: index for index, source in enumerate(files)}
    return tuple((places[item.source], item.frame_index) for item in instances)


def _common_folder(files: tuple[str, ...]) -> str:
    """Folder (or archive) that holds most of the files of a series; the file itself where there is one."""
    if len(files) == 1:
        return files[0]
    folders = Counter(
        split_source(source)[0] if split_source(source)[1] else str(PurePath(source).parent) for source in files
    )
    return folders.most_common(1)[0][0]


def _table(candidate: Candidate, num_files: int) -> SeriesTable:
    shared = candidate.instances[0].shared
    spacing = shared.pixel_spacing_mm or (None, None)
    syntax = transfer_syntax(shared.transfer_syntax)
    return SeriesTable(
        num_files=num_files,
        num_slices=len(candidate.instances) if candidate.instances[0].pixel is not None else 0,
        rows=shared.rows,
        columns=shared.columns,
        row_spacing_mm=spacing[0],
        column_spacing_mm=spacing[1],
        slice_gap_mm=_gap(candidate),
        slice_thickness_mm=shared.slice_thickness_mm,
        kernel=shared.kernel.replace("\\", " ") or None,
        patient_position=shared.patient_position or None,
        phase=phase_of(shared),
        manufacturer=shared.manufacturer or None,
        transfer_syntax=syntax.name,
    )


def _gap(candidate: Candidate) -> float | None:
    """Distance between slices: the mean, or the usual one where slices are missing or uneven."""
    stack = candidate.stack
    if stack is None or len(candidate.instances) < 2:
        return None
    is_near = abs(stack.mean_gap_mm - stack.gap_mm) <= max(ROUNDING_MM, 0.1 * stack.gap_mm)
    return round(stack.mean_gap_mm if is_near else stack.gap_mm, 4)


def _file_records(candidate: Candidate, series: SeriesRef) -> list[FileRecord]:
    """What became of the files of a series: used when the series is usable, ignored with its first reason when not."""
    reason = next((finding.code for finding in series.findings if finding.severity is Severity.REJECT), None)
    status = FileStatus.IGNORED if series.decision is Decision.REJECT else FileStatus.USED
    problems = {item.source: item.problem for item in candidate.instances if item.problem is not None}
    records = []
    for source in series.files:
        problem = problems.get(source)
        if problem is not None:
            records.append(FileRecord(source, FileStatus.UNREADABLE, problem))
        else:
            records.append(FileRecord(source, status, reason if status is FileStatus.IGNORED else None))
    return records + [_copy_record(copy) for copy in candidate.duplicates]


def _copy_record(copy: Instance) -> FileRecord:
    if copy.problem is not None:
        return FileRecord(copy.source, FileStatus.UNREADABLE, copy.problem)
    return FileRecord(copy.source, FileStatus.IGNORED, QualityCode.DUPLICATE_SLICES)


def _volume_ref(source: str, policy: QualityPolicy, secret: bytes | None) -> SeriesRef:
    """A reference to a volume file. Such files carry no UIDs: each is a study of its own, known by its path."""
    is_nifti = not source.lower().endswith(METAIMAGE_SUFFIXES)
    table, findings = (describe_nifti if is_nifti else describe_metaimage)(source, policy)
    return SeriesRef(
        series_key=keyed_hash(secret, "series", source),
        study_key=keyed_hash(secret, "study", source),
        reader="nifti" if is_nifti else "metaimage",
        files=(source,) if is_nifti else (source, *data_files(source)),
        table=table,
        findings=findings,
        decision=decide(findings),
        identity=SourceIdentity(path=source),
    )


def _volume_record(series: SeriesRef) -> FileRecord:
    if series.decision is not Decision.REJECT:
        return FileRecord(series.files[0], FileStatus.USED)
    return FileRecord(series.files[0], FileStatus.UNREADABLE, series.codes[0] if series.codes else None)
