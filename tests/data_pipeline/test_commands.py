"""``inspect`` and ``export`` as a user runs them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from data_pipeline import read_volume
from data_pipeline.__main__ import main
from domain.series_rows import FILE_COLUMNS, SERIES_COLUMNS

MakeSeries = Callable[..., list[Path]]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_inspect_lists_series_and_files(
    make_series: MakeSeries, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_series()[0].parent
    (folder / "note.txt").write_text("no scan")
    assert main(["inspect", str(folder), "--out", str(tmp_path / "out")]) == 0
    listed = rows(tmp_path / "out" / "series.csv")
    assert tuple(listed[0]) == SERIES_COLUMNS
    assert (listed[0]["num_slices"], listed[0]["selected"]) == ("24", "true")
    files = rows(tmp_path / "out" / "files.csv")
    assert tuple(files[0]) == FILE_COLUMNS
    assert sorted(row["status"] for row in files) == ["ignored", *["used"] * 24]
    screen = capsys.readouterr().out
    assert "chosen" in screen
    assert str(folder) not in screen


def test_inspect_can_judge_voxels_too(make_series: MakeSeries, tmp_path: Path) -> None:
    folder = make_series(elements={(0x0028, 0x1052): ("DS", -2048)})[0].parent
    assert main(["inspect", str(folder), "--out", str(tmp_path / "a")]) == 0
    assert main(["inspect", str(folder), "--voxels", "--out", str(tmp_path / "b")]) == 0
    assert rows(tmp_path / "a" / "series.csv")[0]["selected"] == "true"
    judged = rows(tmp_path / "b" / "series.csv")[0]
    assert (judged["selected"], judged["decision"]) == ("false", "reject")
    assert "not_hu" in judged["codes"]


def test_inspect_of_junk_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a.dcm").write_bytes(b"junk")
    assert main(["inspect", str(tmp_path / "scans")]) == 0


@pytest.mark.parametrize("command", [["inspect"], ["export", "--out", "out"]])
def test_a_missing_folder_is_one_message_and_exit_2(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*command, str(tmp_path / "nowhere")]) == 2
    assert "no such file or folder" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["inspect"], ["export", "--out", "out"]])
def test_an_empty_folder_is_one_message_and_exit_2(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main([*command, "empty"]) == 2
    assert "holds no file" in capsys.readouterr().err


def test_a_misspelt_code_in_a_policy_is_exit_2(
    make_series: MakeSeries, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("severity: {not_dicom: reject}\nsevere: {}\nthresholds: {}\n")
    assert main(["inspect", str(make_series()[0].parent), "--policy", str(policy)]) == 2
    assert "policy.yaml" in capsys.readouterr().err


def test_export_writes_the_volume_and_nothing_identifying(make_series: MakeSeries, tmp_path: Path) -> None:
    folder = make_series()[0].parent
    out = tmp_path / "out"
    assert main(["export", str(folder), "--out", str(out)]) == 0
    image_path = next(out.glob("*.nii.gz"))
    image, volume = nibabel.load(image_path), read_volume(folder)
    assert np.array_equal(np.asarray(image.dataobj), volume.voxels)
    assert np.allclose(image.affine, volume.affine.matrix, atol=1e-4)
    facts = json.loads(image_path.with_name(image_path.name.replace(".nii.gz", ".json")).read_text())
    assert facts["content_digest"] == volume.content_digest
    public = [path for path in out.iterdir() if path.is_file()]
    for path in public:
        data = path.read_bytes()
        assert b"INVENTED" not in data
        assert b"1.2.3." not in data
        assert str(folder).encode() not in data


def test_export_repeats_its_keys(make_series: MakeSeries, tmp_path: Path) -> None:
    folder, out = make_series()[0].parent, tmp_path / "out"
    main(["export", str(folder), "--out", str(out)])
    before = sorted(path.name for path in out.iterdir())
    main(["export", str(folder), "--out", str(out)])
    assert sorted(path.name for path in out.iterdir()) == before


@pytest.mark.parametrize("kind", [[], ["--deidentify"], ["--secret-file", "secret"]])
def test_export_into_the_folder_of_the_scans_does_not_feed_on_itself(
    make_series: MakeSeries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("secret").write_text("a secret of a site")
    folder = make_series()[0].parent
    out = folder / "copies" / "out"
    for _ in range(2):
        assert main(["export", str(folder), "--out", str(out), *kind]) == 0
        assert len(rows(out / "private" / "series.csv")) == 1
    passed_over = [row for row in rows(out / "private" / "files.csv") if row["status"] == "ignored"]
    assert [row["path"] for row in passed_over] == [str(out)]


def test_what_was_exported_can_be_read_back(make_series: MakeSeries, tmp_path: Path) -> None:
    assert main(["export", str(make_series()[0].parent), "--out", str(tmp_path / "out")]) == 0
    assert main(["inspect", str(tmp_path / "out"), "--out", str(tmp_path / "listing")]) == 0
    assert [row["transfer_syntax"] for row in rows(tmp_path / "listing" / "series.csv")] == ["NIfTI, gzip"]


def test_export_goes_on_after_a_bad_series_and_exits_1(make_series: MakeSeries, tmp_path: Path) -> None:
    make_series("good", study="a")
    hu = np.zeros((24, 64, 64), dtype=np.int16)
    bad = make_series("bad", study="b", hu=hu)
    out = tmp_path / "out"
    assert main(["export", str(bad[0].parent.parent), "--out", str(out)]) == 1
    assert len(list(out.glob("*.nii.gz"))) == 1
    assert [row["code"] for row in rows(out / "failures.csv")] == ["not_a_ct_volume"]


def test_export_lists_studies_without_a_usable_series(make_series: MakeSeries, tmp_path: Path) -> None:
    make_series("good", study="a")
    lost = make_series("lost", study="b")
    lost[9].unlink()
    out = tmp_path / "out"
    assert main(["export", str(lost[0].parent.parent), "--out", str(out)]) == 1
    [listed] = rows(out / "failures.csv")
    assert (listed["stage"], listed["code"]) == ("select", "missing_slices")
    assert listed["series_key"] in {row["series_key"] for row in rows(out / "private" / "series.csv")}


def test_help_of_every_command_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("inspect", "export", "phantoms", "template"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert "example" in capsys.readouterr().out.lower()
