"""Pictures as text inside a page, small enough that a page of many cases still opens."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

JPEG_QUALITY = 82  # the PNG beside the result stays exact; the page may lose what no eye sees


def data_uri(path: Path) -> str:
    """A picture file as a ``data:`` address holding a JPEG.

    Raises:
        OSError: The file is missing or is no picture.
    """
    stream = io.BytesIO()
    with Image.open(path) as picture:
        picture.convert("RGB").save(stream, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
