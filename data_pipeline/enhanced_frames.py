"""Enhanced multi-frame CT: one image per frame, each with its own geometry and rescale (PS3.3 C.7.6.16)."""

from __future__ import annotations

from dataclasses import replace

from data_pipeline.dicom_elements import Encoding, MalformedDicomError, Walk, walk_items
from data_pipeline.dicom_images import (
    FRAME_GROUPS,
    POSITION,
    SHARED_GROUPS,
    SHARED_TAG_LIST,
    Instance,
    shared_facts,
    vector_of,
)

MAX_FRAMES = 20_000
_PLANE_POSITION, _PLANE_ORIENTATION, _PIXEL_MEASURES = 0x00209113, 0x00209116, 0x00289110
_VALUE_TRANSFORM, _FRAME_CONTENT, _CT_RECONSTRUCTION, _CT_FRAME_TYPE = 0x00289145, 0x00209111, 0x00189314, 0x00189329
_FRAME_TYPE, _ACQUISITION_FRAME, _TEMPORAL_INDEX = 0x00089007, 0x00209156, 0x00209128
_GROUP_SEQUENCES = frozenset(
    {_PLANE_POSITION, _PLANE_ORIENTATION, _PIXEL_MEASURES, _VALUE_TRANSFORM, _FRAME_CONTENT}
    | {_CT_RECONSTRUCTION, _CT_FRAME_TYPE}
)
_GROUP_VALUES = frozenset({*SHARED_TAG_LIST, POSITION, _FRAME_TYPE, _ACQUISITION_FRAME, _TEMPORAL_INDEX})


def _functional_groups(sequence: bytes | None, encoding: Encoding) -> list[dict[int, bytes]]:
    """For each item: the wanted values of all its functional groups, flat."""
    if sequence is None:
        return []
    flat = []
    for item in walk_items(sequence, encoding, _GROUP_SEQUENCES):
        values: dict[int, bytes] = {}
        for group in item.values.values():
            for walk in walk_items(group, encoding, _GROUP_VALUES)[:1]:
                values |= walk.values
        flat.append(values)
    return flat


def enhanced_frames(first: Instance, walk: Walk, encoding: Encoding, num_frames: int) -> tuple[Instance, ...]:
    """One instance per frame, each with its own geometry and rescale (PS3.3 C.7.6.16)."""
    shared_groups = _functional_groups(walk.values.get(SHARED_GROUPS), encoding)
    frame_groups = _functional_groups(walk.values.get(FRAME_GROUPS), encoding)
    if num_frames > MAX_FRAMES or num_frames < 1 or len(frame_groups) != num_frames:
        raise MalformedDicomError(f"{num_frames} frames declared, {len(frame_groups)} described")
    common = {tag: value for tag, value in walk.values.items() if tag in _GROUP_VALUES}
    common |= shared_groups[0] if shared_groups else {}
    frames = []
    for index, group in enumerate(frame_groups):
        values = common | group
        if _FRAME_TYPE in values:
            values[0x00080008] = values[_FRAME_TYPE]
        raw = tuple([values.get(tag) for tag in SHARED_TAG_LIST])
        facts = shared_facts(raw, first.shared.transfer_syntax, is_big_endian=encoding.is_big_endian)
        temporal = group.get(_TEMPORAL_INDEX)
        acquisition = group.get(_ACQUISITION_FRAME)
        order = "big" if encoding.is_big_endian else "little"
        frames.append(
            replace(
                first,
                shared=facts,
                position_mm=vector_of(values.get(POSITION)),
                temporal_position=int.from_bytes(temporal, order) if temporal else None,  # type: ignore[arg-type]
                acquisition_number=int.from_bytes(acquisition, order) if acquisition else None,  # type: ignore[arg-type]
                frame_index=index,
                num_frames=num_frames,
            )
        )
    return tuple(frames)
