from __future__ import annotations

from pathlib import Path

import pytest

from domain.whole_files import PARTIAL_SUFFIX, remove_partial_files, write_whole


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_whole(path, "old")
    write_whole(path, "a\nb")
    assert path.read_bytes() == b"a\nb"
    assert [item.name for item in path.parent.iterdir()] == ["a.json"]


def test_a_failed_write_keeps_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_whole(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("domain.whole_files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_remains_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    (tmp_path / f".a.json.1-2{PARTIAL_SUFFIX}").write_bytes(b"half")
    (tmp_path / "b.json").write_bytes(b"whole")
    assert remove_partial_files(tmp_path) == 1
    assert [item.name for item in tmp_path.iterdir()] == ["b.json"]
