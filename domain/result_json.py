"""One study's result as the text of ``cases/<case_key>.json``; its check sum tells a whole file from a damaged one.

Timings are left out: the same input, model and device give the same bytes, however busy the machine was.
"""

from __future__ import annotations

import hashlib

from pydantic import ValidationError

from domain.errors import MyoLungError
from domain.records import CaseResult
from domain.specs import DIGEST_LENGTH

CHECKSUM = "checksum"  # key in ``CaseResult.digests``
_BLANK = "0" * DIGEST_LENGTH  # stands where the check sum goes while it is computed


class DamagedResultError(MyoLungError):
    """A result file is cut short, was changed by hand or by a failing disk, or is not a result at all."""


def result_to_json(result: CaseResult) -> str:
    """The text of a result file. The same result gives the same text; ``seconds`` is not in it."""
    blank = result.model_copy(update={"digests": {**result.digests, CHECKSUM: _BLANK}})
    text = blank.model_dump_json(indent=1, exclude={"seconds"}) + "\n"
    return text.replace(_entry(_BLANK), _entry(_checksum(text)), 1)


def result_from_json(text: str) -> CaseResult:
    """Read a result file back.

    Raises:
        DamagedResultError: The text is not a result, or not the one its check sum was made for.
    """
    try:
        result = CaseResult.model_validate_json(text)
    except ValidationError as error:
        raise DamagedResultError(f"not a readable result ({error.error_count()} problem(s))") from error
    found = result.digests.get(CHECKSUM, "")
    expected = _checksum(text.replace(_entry(found), _entry(_BLANK), 1))
    if found != expected:
        raise DamagedResultError(f"the check sum is {found or 'missing'}, the content gives {expected}")
    return result


def _entry(value: str) -> str:
    return f'"{CHECKSUM}": "{value}"'


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]
