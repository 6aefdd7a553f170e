"""Headers of images, sorted by series while a tree is scanned: in memory while few, on disk when many.

A tree gives the images of its series in any order, and a series can only be judged as a whole. What is kept per image
on the way is what bounds the memory of a survey, so beyond a limit it goes into a temporary file.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import Any

from data_pipeline.dicom_elements import PixelSpan
from data_pipeline.dicom_images import Instance, SharedFacts
from data_pipeline.spool import Place, Spool
from domain.findings import QualityCode

logger = logging.getLogger(__name__)

SeriesKey = tuple[str, str]
IMAGES_IN_MEMORY = 20_000  # 18 MB
_FACT_NAMES = tuple(field.name for field in fields(SharedFacts))
_APART = {"source", "shared", "sop_uid", "position_mm", "pixel", "problem"}  # not plain numbers or text
_OWN_NAMES = tuple(field.name for field in fields(Instance) if field.name not in _APART)


class ImageShelf:
    """Images by series.

    Args:
        key_of: Study and series of an image.
        limit: Images held in memory at a time.
    """

    def __init__(self, key_of: Callable[[Instance], SeriesKey], *, limit: int = IMAGES_IN_MEMORY) -> None:
        self._key_of = key_of
        self._limit = limit
        self._spool = Spool()
        self._places: dict[SeriesKey, list[Place]] = {}
        self._here: defaultdict[SeriesKey, list[Instance]] = defaultdict(list)
        self._num_here = 0

    @property
    def is_on_disk(self) -> bool:
        """Some images were put away."""
        return bool(self._places)

    def add(self, image: Instance) -> SeriesKey:
        """Keep an image; gives its study and series."""
        key = self._key_of(image)
        self._here[key].append(image)
        self._num_here += 1
        if self._num_here >= self._limit:
            self._put_away()
        return key

    def _put_away(self) -> None:
        try:
            places = {key: self._spool.write(_packed(images)) for key, images in self._here.items()}
        except OSError as error:
            logger.warning("the temporary folder takes no more (%s): headers stay in memory", error.strerror)
            self._limit = 1 << 62
            return
        for key, place in places.items():
            self._places.setdefault(key, []).append(place)
        self._here.clear()
        self._num_here = 0

    def take_all(self) -> Iterator[tuple[SeriesKey, list[Instance]]]:
        """Each series with all its images; the shelf is empty afterwards."""
        for key in [*self._places, *(key for key in self._here if key not in self._places)]:
            images: list[Instance] = []
            for place in self._places.pop(key, ()):
                images += _unpacked(self._spool.read(place))
            yield key, images + self._here.pop(key, [])


def _packed(images: Sequence[Instance]) -> dict[str, list[Any]]:
    """JSON of images; what they share is written once."""
    numbers: dict[int, int] = {}
    shared: list[list[Any]] = []
    rows: list[list[Any]] = []
    for image in images:
        number = numbers.setdefault(id(image.shared), len(shared))
        if number == len(shared):
            shared.append([getattr(image.shared, name) for name in _FACT_NAMES])
        pixel = image.pixel and [image.pixel.offset, image.pixel.length, image.pixel.vr.decode("latin-1")]
        position, problem = image.position_mm, image.problem and image.problem.value
        numbers_of_image = [getattr(image, name) for name in _OWN_NAMES]
        rows.append([number, image.source, image.sop_uid, position, pixel, problem, *numbers_of_image])
    return {"shared": shared, "rows": rows}


def _unpacked(value: dict[str, list[Any]]) -> list[Instance]:
    shared = [_facts(row) for row in value["shared"]]
    images = []
    for number, source, sop_uid, position, pixel, problem, *own in value["rows"]:
        span = PixelSpan(pixel[0], pixel[1], pixel[2].encode("latin-1")) if pixel else None
        code = QualityCode(problem) if problem else None
        place = tuple(position) if position else None
        known: dict[str, Any] = dict(zip(_OWN_NAMES, own, strict=True))
        images.append(Instance(source, shared[number], sop_uid, place, pixel=span, problem=code, **known))
    return images


def _facts(row: list[Any]) -> SharedFacts:
    values = (tuple(item) if isinstance(item, list) else item for item in row)
    facts: dict[str, Any] = dict(zip(_FACT_NAMES, values, strict=True))
    return SharedFacts(**facts)
