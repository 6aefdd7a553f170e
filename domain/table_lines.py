"""The lines of a table that people write by hand: comments and empty lines apart, comma or semicolon."""

from __future__ import annotations


def numbered_lines(text: str) -> list[tuple[int, str]]:
    """Lines that hold something, with their numbers from 1; whole lines beginning with ``#`` are comments."""
    return [(i, line) for i, line in enumerate(text.splitlines(), start=1) if line.strip(" ,;") and line[0] != "#"]


def delimiter_of(header: str) -> str:
    """What stands between the columns of a header."""
    return ";" if header.count(";") > header.count(",") else ","
