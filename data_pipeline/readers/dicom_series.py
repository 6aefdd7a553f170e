"""A DICOM series to an HU volume: headers again, memory checked, slices read in parallel, geometry into RAS."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from data_pipeline.dicom_header import HeaderError, read_header
from data_pipeline.dicom_images import Instance
from data_pipeline.geometry import GeometryError, build_stack, stack_affine
from data_pipeline.quality import QualityPolicy, load_kernel_table, load_policy
from data_pipeline.readers.decoder_process import decode_in_processes
from data_pipeline.readers.pixel_errors import PixelError, cannot_read
from data_pipeline.readers.raw_volume import RawVolume, digest_volume
from data_pipeline.readers.slice_reading import SliceReport, read_slice_into
from data_pipeline.transfer_syntaxes import PixelCodec, transfer_syntax
from domain.affine import Affine
from domain.errors import StudyError
from domain.findings import QualityCode, Stage
from domain.records import SeriesRef
from domain.volume import Acquisition

MAX_WORKERS = 8  # beyond this the memory bus is the limit
RUN_SLICES = 8  # slices a thread takes at a time: handing over each one costs a third more


def read_dicom(
    series: SeriesRef,
    policy: QualityPolicy,
    *,
    num_workers: int | None = None,
    instances: Sequence[Instance] | None = None,
) -> RawVolume:
    """Read a series found by ``discovery``.

    Args:
        series: Its files in slice order.
        policy: For the memory limit.
        num_workers: Threads or decoder processes; as many as there are cores when None.
        instances: Its headers in slice order, where they have just been read.

    Raises:
        StudyError: With the typed reason: damaged, too large, decoder crashed, ...
    """
    workers = num_workers or min(os.cpu_count() or 1, MAX_WORKERS)
    try:
        instances = instances or _instances(series, workers)
        shape = _checked_shape(instances, policy)
        voxels, reports = _read_slices(instances, shape, workers)
        affine = _affine(instances)
    except PixelError as error:
        raise StudyError(Stage.READ, error.code, error.message) from error
    except GeometryError as error:
        raise StudyError(Stage.READ, QualityCode.NO_GEOMETRY, str(error)) from error
    return RawVolume(
        voxels=voxels.transpose(2, 1, 0),
        affine=affine,
        acquisition=_acquisition(instances[0], series),
        lowest_hu=min(report.lowest_hu for report in reports),
        num_below_air=sum(report.num_below_air for report in reports),
        content_digest=digest_volume([report.checksum for report in reports], shape, affine),
    )


def _instances(series: SeriesRef, workers: int) -> list[Instance]:
    def read_one(source: str) -> tuple[Instance, ...]:
        try:
            return read_header(source).instances
        except HeaderError as error:
            raise PixelError(error.code or QualityCode.UNREADABLE, str(error)) from error
        except OSError as error:
            raise cannot_read(error) from error

    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(read_one, series.files))
    if not series.frame_order:
        return [frames[0] for frames in found]
    return [found[file_index][frame_index] for file_index, frame_index in series.frame_order]


def _checked_shape(instances: Sequence[Instance], policy: QualityPolicy) -> tuple[int, int, int]:
    """Slices, rows, columns, once they are known to be possible and to fit the memory limit."""
    first = instances[0].shared
    rows, columns = first.rows or 0, first.columns or 0
    if not rows or not columns:
        raise PixelError(QualityCode.NO_PIXEL_DATA, "the header declares an empty matrix")
    num_bytes = 2 * rows * columns * len(instances)
    if num_bytes > policy.max_volume_bytes:
        message = f"{len(instances)} slices of {rows} x {columns} need {num_bytes / (1 << 30):.1f} GiB; the limit is"
        raise PixelError(QualityCode.TOO_LARGE, f"{message} {policy.thresholds.max_volume_gib:g} GiB")
    return len(instances), rows, columns


def _read_slices(
    instances: Sequence[Instance], shape: tuple[int, int, int], workers: int
) -> tuple[NDArray[np.int16], list[SliceReport]]:
    codecs = {transfer_syntax(instance.shared.transfer_syntax).codec for instance in instances}
    if codecs != {PixelCodec.NATIVE}:
        return decode_in_processes(instances, shape, workers)
    voxels = np.empty(shape, dtype=np.int16)

    def read_run(start: int) -> list[SliceReport]:
        return list(map(read_slice_into, instances[start : start + RUN_SLICES], voxels[start : start + RUN_SLICES]))

    with ThreadPoolExecutor(workers) as pool:
        runs = list(pool.map(read_run, range(0, shape[0], RUN_SLICES)))
    return voxels, [report for run in runs for report in run]


def decoded_digest(instance: Instance) -> bytes:
    """Digest of an image's HU: equal for copies under different lossless syntaxes, unique when it cannot be had."""
    shared = instance.shared
    try:
        _checked_shape([instance], load_policy())
        reports = _read_slices([instance], (1, shared.rows or 0, shared.columns or 0), 1)[1]
    except PixelError:
        return f"{instance.source} {instance.frame_index}".encode()
    return reports[0].checksum.to_bytes(8, "little")


def _affine(instances: Sequence[Instance]) -> Affine:
    shared = instances[0].shared
    positions = [instance.position_mm for instance in instances]
    if shared.orientation is None or shared.pixel_spacing_mm is None or any(item is None for item in positions):
        raise GeometryError("no usable position, orientation or pixel spacing")
    stack = build_stack([position for position in positions if position is not None], shared.orientation)
    if stack.order != tuple(range(len(instances))):
        raise GeometryError("the files changed since they were found: slices are out of order")
    return stack_affine(stack, shared.orientation, shared.pixel_spacing_mm)


def _acquisition(first: Instance, series: SeriesRef) -> Acquisition:
    shared = first.shared
    return Acquisition(
        slice_thickness_mm=shared.slice_thickness_mm,
        kernel=shared.kernel or None,
        kernel_class=load_kernel_table().classify(shared.manufacturer, shared.kernel),
        patient_position=shared.patient_position or None,
        manufacturer=shared.manufacturer or None,
        is_sequential=QualityCode.SEQUENTIAL_ACQUISITION in series.codes,
    )
