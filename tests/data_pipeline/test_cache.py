"""The cache: whole entries, damaged ones heal, bounded size, several writers at once."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from data_pipeline.cache import GraphCache, content_of, remember_content
from domain.specs import ComponentSpec, PreprocessSpec

SPEC = PreprocessSpec(name="tiny", steps=(ComponentSpec(name="orient_ras", version=1),))


def entry(value: float = 1.0, size: int = 100) -> dict[str, torch.Tensor]:
    return {"image": torch.full((size,), value)}


@pytest.fixture
def cache(tmp_path: Path) -> GraphCache:
    return GraphCache(tmp_path, SPEC)


def test_what_is_saved_comes_back_bit_for_bit(cache: GraphCache) -> None:
    stored = {"image": torch.arange(24, dtype=torch.int16).reshape(2, 3, 4), "vector": torch.tensor([1.5, torch.nan])}
    cache.save("scan", stored)
    found = cache.load("scan")
    assert found is not None
    assert torch.equal(found["image"], stored["image"])
    torch.testing.assert_close(found["vector"], stored["vector"], rtol=0, atol=0, equal_nan=True)


def test_an_unknown_scan_is_not_found(cache: GraphCache) -> None:
    assert cache.load("never") is None


@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_a_damaged_entry_is_dropped_and_made_again(
    cache: GraphCache, keep: int, caplog: pytest.LogCaptureFixture
) -> None:
    cache.save("scan", entry())
    path = cache.path_of("scan")
    path.write_bytes(path.read_bytes()[:keep])
    with caplog.at_level(logging.WARNING):
        assert cache.load("scan") is None
    assert "made again" in caplog.text
    assert not path.exists()
    cache.save("scan", entry())
    assert cache.load("scan") is not None


def test_an_interrupted_write_leaves_nothing_behind(cache: GraphCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        cache.save("scan", entry())
    assert list(cache.place.iterdir()) == []


def test_the_entries_not_used_for_longest_go_first(tmp_path: Path) -> None:
    cache = GraphCache(tmp_path, SPEC, max_bytes=1000)
    for number, name in enumerate(("old", "middle", "new")):
        cache.save(name, entry())
        os.utime(cache.path_of(name), (number, number)) if cache.path_of(name).exists() else None
    assert cache.load("old") is None
    assert sum(path.stat().st_size for path in cache.place.glob("*.safetensors")) <= 1000


def test_another_spec_has_another_folder(tmp_path: Path) -> None:
    other = PreprocessSpec(name="tiny", steps=(ComponentSpec(name="lung_mask", version=1),))
    GraphCache(tmp_path, SPEC).save("scan", entry())
    assert GraphCache(tmp_path, other).load("scan") is None


def test_another_library_version_has_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    GraphCache(tmp_path, SPEC).save("scan", entry())
    monkeypatch.setattr("data_pipeline.cache.version", lambda _name: "99.0")
    assert GraphCache(tmp_path, SPEC).load("scan") is None


def test_readers_never_see_half_an_entry_while_writers_race(tmp_path: Path) -> None:
    cache = GraphCache(tmp_path, SPEC)
    wrong: list[str] = []

    def write(value: float) -> None:
        for _ in range(15):
            cache.save("scan", entry(value, size=20_000))

    def read() -> None:
        for _ in range(60):
            path = cache.path_of("scan")
            if path.exists() and len(load_file(path)["image"].unique()) != 1:
                wrong.append("mixed")

    threads = [threading.Thread(target=write, args=(float(number),)) for number in range(3)]
    threads.append(threading.Thread(target=read))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert cache.load("scan") is not None
    assert [path.name for path in cache.place.iterdir()] == ["scan.safetensors"]


def test_two_processes_share_a_cache(tmp_path: Path) -> None:
    cache = GraphCache(tmp_path, SPEC)
    child = os.fork()
    if child == 0:  # the child leaves without running pytest's own exit
        for number in range(10):
            cache.save(f"scan{number}", entry(float(number)))
        os._exit(0)
    for number in range(10):
        cache.save(f"scan{number}", entry(float(number)))
    assert os.waitpid(child, 0)[1] == 0
    for number in range(10):
        found = cache.load(f"scan{number}")
        assert found is not None
        assert torch.equal(found["image"], entry(float(number))["image"])


def test_a_note_of_a_source_survives_damage(tmp_path: Path) -> None:
    remember_content(tmp_path, "source", "content")
    assert content_of(tmp_path, "source") == "content"
    (tmp_path / "sources" / "source.json").write_text("{")
    assert content_of(tmp_path, "source") is None
    assert content_of(tmp_path, "unknown") is None
