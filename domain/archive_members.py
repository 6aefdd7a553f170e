"""How a file inside an archive is named. A module of its own: decoder processes load it without the records."""

from __future__ import annotations

from pathlib import Path

MEMBER_SEPARATOR = "!"  # ``archive.zip!member``


def split_source(source: str) -> tuple[str, str]:
    """Path and member of a source; the member is empty for a plain file."""
    if MEMBER_SEPARATOR not in source:
        return source, ""
    start = 0
    while (cut := source.find(MEMBER_SEPARATOR, start)) >= 0:
        if source[:cut].lower().endswith(".zip") and Path(source[:cut]).is_file():
            return source[:cut], source[cut + 1 :]
        start = cut + 1
    return source, ""
