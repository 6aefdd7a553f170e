from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest

from domain.errors import OutputFolderError
from inference.output_lock import locked_output


def is_refused_elsewhere(out: Path, shard: str = "") -> bool:
    """Another thread stands for another program: it asks the system for the lock, as that would."""
    refusals: list[OutputFolderError] = []

    def ask() -> None:
        try:
            with locked_output(out, shard=shard):
                pass
        except OutputFolderError as error:
            refusals.append(error)

    thread = Thread(target=ask)
    thread.start()
    thread.join()
    return bool(refusals)


def test_a_holder_may_lock_again_and_holds_until_its_outer_block_ends(tmp_path: Path) -> None:
    with locked_output(tmp_path):
        with locked_output(tmp_path):
            pass
        with pytest.raises(KeyError), locked_output(tmp_path / "."):
            raise KeyError
        assert is_refused_elsewhere(tmp_path)
    assert not is_refused_elsewhere(tmp_path)


def test_parts_share_a_folder_and_keep_a_whole_run_and_their_like_out(tmp_path: Path) -> None:
    with locked_output(tmp_path, shard="1-of-2"), locked_output(tmp_path, shard="1-of-2"):
        assert is_refused_elsewhere(tmp_path)
        assert is_refused_elsewhere(tmp_path, "1-of-2")
        assert not is_refused_elsewhere(tmp_path, "2-of-2")


def test_holding_one_folder_does_not_hold_another(tmp_path: Path) -> None:
    with locked_output(tmp_path / "a"):
        assert not is_refused_elsewhere(tmp_path / "b")
