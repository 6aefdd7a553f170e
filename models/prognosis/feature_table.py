"""Stored image features beside the rows of a case table: probabilities, quantities, embedding. Reads no scan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from domain.errors import CaseTableError
from domain.patterns import PATTERNS
from domain.prognostic_data import PrognosticData
from domain.quantities import NETWORK_QUANTITIES
from domain.result_json import DamagedResultError, result_from_json

FloatArray = NDArray[np.float64]

KEY_COLUMNS = ("case_id", "case_key")
PROBABILITY_COLUMNS = tuple(f"p_{pattern}" for pattern in PATTERNS)
EMBEDDING_PREFIX = "embedding_"


def read_feature_table(path: Path) -> pd.DataFrame:
    """Image features by case: index ``case_id``, columns known to the head; other columns are left out.

    Args:
        path: CSV, Parquet, or an output folder of ``infer.py`` (its ``cases/*.json`` hold every quantity).

    Raises:
        CaseTableError: Missing, unreadable, without a key column, a case twice, text where numbers belong, or some
            but not all of the four probabilities.
    """
    frame = _frame_of(path)
    key = next((name for name in KEY_COLUMNS if name in frame), None)
    if key is None:
        raise CaseTableError(path, [f"no column {' or '.join(KEY_COLUMNS)}: features need to name their case"])
    frame = frame.set_index(frame[key].astype(str))
    wanted = [n for n in (*PROBABILITY_COLUMNS, *NETWORK_QUANTITIES, *_embedding_columns(frame)) if n in frame]
    problems = [f"case {name}: stands twice" for name in frame.index[frame.index.duplicated()].unique()]
    if not wanted:
        problems.append("no feature column: expected p_nsip to p_other, quantities, or embedding_0, embedding_1, ...")
    if missing := [n for n in PROBABILITY_COLUMNS if n not in wanted] if PROBABILITY_COLUMNS[0] in wanted else []:
        problems.append(f"column(s) {', '.join(missing)} missing beside {PROBABILITY_COLUMNS[0]}")
    numbers = pd.DataFrame({name: pd.to_numeric(frame[name], errors="coerce") for name in wanted}, frame.index)
    problems += [
        f"column {n}: not a number in some row" for n in wanted if (numbers[n].isna() & frame[n].notna()).any()
    ]
    if problems:
        raise CaseTableError(path, problems)
    return pd.DataFrame(numbers.astype(np.float64))


def _frame_of(path: Path) -> pd.DataFrame:
    try:
        if path.is_dir():
            return pd.DataFrame(_from_results(path))
        if path.suffix == ".parquet":
            return pd.DataFrame(pd.read_parquet(path))
        return pd.DataFrame(pd.read_csv(path, dtype=dict.fromkeys(KEY_COLUMNS, str)))
    except (OSError, ValueError) as error:
        raise CaseTableError(path, [f"cannot be read as a table of features: {error}"]) from error


def _from_results(folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for path in sorted((folder / "cases").glob("*.json")):
        try:
            result = result_from_json(path.read_text(encoding="utf-8"))
        except DamagedResultError as error:
            raise CaseTableError(path, [str(error)]) from error
        row: dict[str, object] = {"case_key": result.case_key, **result.prediction.quantitative}
        if result.prediction.pattern is not None:
            row |= {f"p_{name}": value for name, value in result.prediction.pattern.probabilities.items()}
        rows.append(row)
    if not rows:
        raise CaseTableError(folder, ["holds no cases/*.json; give the output folder of infer.py, or a table"])
    return rows


def _embedding_columns(frame: pd.DataFrame) -> list[str]:
    names = [
        n for n in map(str, frame.columns) if n.startswith(EMBEDDING_PREFIX) and n[len(EMBEDDING_PREFIX) :].isdigit()
    ]
    return sorted(names, key=lambda name: int(name[len(EMBEDDING_PREFIX) :]))


def with_features(data: PrognosticData, features: pd.DataFrame, *, out_of_fold: bool | None) -> PrognosticData:
    """Tables with stored image features beside them; a case without a row has no image.

    Args:
        data: Tables of N cases.
        features: From ``read_feature_table``.
        out_of_fold: As declared; the head refuses features of a network that saw these patients.

    Raises:
        CaseTableError: No case of ``data`` has features.
    """
    if not features.index.isin(data.case_ids).any():
        raise CaseTableError("features", [f"none of their {len(features)} cases is in the case table"])
    rows = features.reindex(list(data.case_ids))

    def block(names: Sequence[str]) -> FloatArray | None:
        return rows[list(names)].to_numpy(dtype=np.float64) if names else None

    quantities = tuple(name for name in NETWORK_QUANTITIES if name in rows)
    return data.replaced(
        pattern_probabilities=block([name for name in PROBABILITY_COLUMNS if name in rows]),
        quantitative_names=quantities,
        quantitative=block(quantities),
        embedding=block(_embedding_columns(rows)),
        patterns_out_of_fold=out_of_fold,
    )
