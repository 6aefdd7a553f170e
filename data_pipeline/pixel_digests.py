"""Digests of stored pixels, to tell copies of an image from others. Decodes nothing."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from data_pipeline.dicom_images import Instance
from data_pipeline.sources import read_span
from data_pipeline.transfer_syntaxes import transfer_syntax

MAX_SPAN_BYTES = 1 << 30  # of pixel data compared for equality


def pixel_digest(instance: Instance) -> bytes:
    """Digest of the stored pixel bytes of one frame, and of how they turn into HU."""
    shared, pixel = instance.shared, instance.pixel
    rescale = f"{shared.transfer_syntax} {shared.slope} {shared.intercept} ".encode()
    if pixel is None or instance.problem is not None:
        return rescale + instance.source.encode()
    if pixel.is_encapsulated or transfer_syntax(shared.transfer_syntax).is_deflated:
        # The place of a frame is not known without decoding: equal files hold equal frames.
        rescale += f"frame {instance.frame_index} ".encode()
        start, length = (pixel.offset if pixel.is_encapsulated else 0), MAX_SPAN_BYTES
    else:
        length = pixel.length // instance.num_frames
        start = pixel.offset + instance.frame_index * length
    try:
        return rescale + _span_digest(instance.source, start, length)
    except OSError:
        return rescale + instance.source.encode()


@lru_cache(maxsize=64)
def _span_digest(source: str, start: int, length: int) -> bytes:
    return hashlib.blake2b(read_span(source, start, length), digest_size=16).digest()
