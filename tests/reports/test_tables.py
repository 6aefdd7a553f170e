from __future__ import annotations

import csv
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from example_results import ALL_KINDS, failed, predicted

from reports import csv_table, failures_table, parquet_table
from reports.table_rows import ColumnPlan, plan_columns, prediction_row

CONTRACT_TEXT = (
    "case_key status pattern p_nsip p_op p_mixed p_other pattern_set abstained ood_score quality_codes ggo_percent "
    "consolidation_percent reticulation_percent high_attenuation_percent "
    "survival_90d survival_90d_lo survival_90d_hi survival_180d survival_180d_lo survival_180d_hi "
    "survival_365d survival_365d_lo survival_365d_hi survival_1096d survival_1096d_lo survival_1096d_hi "
    "survival_1826d survival_1826d_lo survival_1826d_hi "
    "cif_death_90d cif_death_180d cif_death_365d cif_death_1096d cif_death_1826d "
    "cif_progression_90d cif_progression_180d cif_progression_365d cif_progression_1096d cif_progression_1826d "
    "cif_transplant_90d cif_transplant_180d cif_transplant_365d cif_transplant_1096d cif_transplant_1826d "
    "risk_group inputs_used inputs_missing seconds"
)
CONTRACT = CONTRACT_TEXT.split()


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_predictions_have_the_columns_of_the_contract_in_order(tmp_path: Path) -> None:
    csv_table.write(ALL_KINDS, tmp_path / "p.csv")
    header = (tmp_path / "p.csv").read_text().splitlines()[0].split(",")
    assert header[: len(CONTRACT)] == CONTRACT
    assert {"trained_on", "death_survival_365d"} <= set(header[len(CONTRACT) :])


def test_every_study_is_in_predictions_or_failures_and_none_in_both(tmp_path: Path) -> None:
    csv_table.write(ALL_KINDS, tmp_path / "p.csv")
    failures_table.write(ALL_KINDS, tmp_path / "f.csv")
    good, bad = read_csv(tmp_path / "p.csv"), read_csv(tmp_path / "f.csv")
    assert [row["case_key"] for row in good] == ["case-1", "case-2", "case-4"]
    assert [(row["case_key"], row["stage"], row["code"]) for row in bad] == [("case-3", "read", "decoder_crashed")]


def test_a_predicted_row_says_what_the_result_says(tmp_path: Path) -> None:
    csv_table.write(iter(ALL_KINDS), tmp_path / "p.csv")
    row = read_csv(tmp_path / "p.csv")[0]
    assert row["pattern"] == "nsip"
    assert sum(float(row[f"p_{name}"]) for name in ("nsip", "op", "mixed", "other")) == pytest.approx(1, abs=1e-5)
    assert row["pattern_set"] == "nsip;mixed"
    assert row["abstained"] == "false"
    assert row["quality_codes"] == "soft_kernel"
    assert row["ggo_percent"] == "12.345679"
    assert row["reticulation_percent"] == ""
    assert float(row["survival_90d_lo"]) < float(row["survival_90d"]) < float(row["survival_90d_hi"])
    assert row["seconds"] == "1.25"
    assert (row["kernel"], row["slice_thickness_mm"]) == ("D40s", "")


def test_an_abstention_has_no_pattern_but_keeps_its_probabilities(tmp_path: Path) -> None:
    csv_table.write(ALL_KINDS, tmp_path / "p.csv")
    row = read_csv(tmp_path / "p.csv")[1]
    assert row["status"] == "abstained"
    assert row["pattern"] == ""
    assert row["abstained"] == "true"
    assert row["p_nsip"] == "0.62"


def test_a_table_of_nothing_but_failures_still_has_its_header(tmp_path: Path) -> None:
    csv_table.write([failed()], tmp_path / "p.csv")
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("case_key,status,pattern,p_nsip")


def test_parquet_holds_the_same_cells_with_types(tmp_path: Path) -> None:
    csv_table.write(ALL_KINDS, tmp_path / "p.csv")
    parquet_table.write(ALL_KINDS, tmp_path / "p.parquet")
    table = pq.read_table(tmp_path / "p.parquet")
    rows = read_csv(tmp_path / "p.csv")
    assert table.column_names == list(rows[0])
    assert table["abstained"].to_pylist() == [False, True, False]
    for name in table.column_names:
        for typed, text in zip(table[name].to_pylist(), (row[name] for row in rows), strict=True):
            written = "" if typed is None else str(typed).lower() if isinstance(typed, bool) else str(typed)
            assert written == text


def test_columns_do_not_depend_on_the_order_of_results() -> None:
    assert set(plan_columns(ALL_KINDS).columns) == set(plan_columns(reversed(ALL_KINDS)).columns)


def test_a_row_has_every_column_even_without_a_prognosis() -> None:
    columns = ColumnPlan().columns
    assert tuple(prediction_row(failed(), columns)) == columns
    assert prediction_row(predicted(), columns)["survival_365d"] is not None
