"""Three states, soft evidence, groups and their exceptions."""

from __future__ import annotations

import numpy as np
import pytest

from domain.prognostic_data import PrognosticData
from models.prognosis.antibody_coding import AntibodyCoding, fit_antibody_coding

KEYS = ("mda5", "jo1", "pl7", "ks", "ars", "ro52")
GROUPS = ("mda5", "ars", "ars", "ars", "ars", "ro52")


def patients(*rows: tuple[int, ...], grades: list[list[float]] | None = None) -> PrognosticData:
    return PrognosticData(
        case_ids=tuple(str(i) for i in range(len(rows))),
        antibody_keys=KEYS,
        antibody_groups=GROUPS,
        antibodies=np.array(rows, dtype=np.int8),
        antibody_grades=None if grades is None else np.array(grades),
    )


TRAINING = patients(
    *[(1, 0, 0, -1, -1, 1)] * 10, *[(0, 1, 0, -1, -1, 1)] * 8, *[(0, 0, 1, -1, -1, 0)] * 2, *[(0, 0, 0, -1, -1, 0)] * 9
)


@pytest.fixture
def coding() -> AntibodyCoding:
    return fit_antibody_coding(TRAINING, 0.74)


def states(coding: AntibodyCoding, *row: int) -> dict[str, tuple[float, float]]:
    positive, unknown = coding.group_states(patients(tuple(row)))
    return {g: (float(positive[0, i]), float(unknown[0, i])) for i, g in enumerate(coding.groups)}


def test_negative_positive_and_not_tested_are_three_states(coding: AntibodyCoding) -> None:
    assert states(coding, 0, 0, 0, -1, -1, 0)["mda5"] == (0.0, 0.0)
    assert states(coding, 1, 0, 0, -1, -1, 0)["mda5"] == (1.0, 0.0)
    assert states(coding, -1, 0, 0, -1, -1, 0)["mda5"] == (0.0, 1.0)


def test_a_blot_without_ks_is_nearly_a_full_test_of_the_group(coding: AntibodyCoding) -> None:
    assert 0.0 < states(coding, 0, 0, 0, -1, -1, 0)["ars"][1] < 0.1
    assert states(coding, 0, -1, 0, -1, -1, 0)["ars"][1] > 0.5


def test_an_elisa_mix_speaks_for_the_whole_group(coding: AntibodyCoding) -> None:
    assert states(coding, 0, -1, -1, -1, 0, 0)["ars"] == (0.0, 0.0)
    assert states(coding, 0, -1, -1, -1, 1, 0)["ars"] == (1.0, 0.0)


def test_a_positive_specific_antibody_settles_the_other_classes(coding: AntibodyCoding) -> None:
    assert states(coding, 1, -1, -1, -1, -1, -1)["ars"] == (0.0, 0.0)
    assert states(coding, 1, -1, -1, -1, -1, -1)["ro52"] == (0.0, 1.0)


def test_an_antibody_never_seen_positive_counts_for_its_group(coding: AntibodyCoding) -> None:
    assert "ks" not in coding.deviation_keys
    assert states(coding, 0, 0, 0, 1, -1, 0)["ars"] == (1.0, 0.0)


def test_a_group_never_seen_positive_is_unknown_not_negative() -> None:
    coding = fit_antibody_coding(patients(*[(0, 1, 0, 0, 0, 0)] * 5), 0.74)
    assert states(coding, 1, 0, 0, 0, 0, 0)["mda5"] == (0.0, 1.0)


def test_a_weak_blot_is_soft_evidence(coding: AntibodyCoding) -> None:
    none = [np.nan] * 5
    data = patients((1, 0, 0, 0, 0, 0), (1, 0, 0, 0, 0, 0), grades=[[1.0, *none], [4.0, *none]])
    positive, unknown = coding.group_states(data)
    column = coding.groups.index("mda5")
    assert positive[:, column].tolist() == [0.74, 1.0]
    assert unknown[0, column] == pytest.approx(0.0)


def test_two_specific_antibodies_are_counted(coding: AntibodyCoding) -> None:
    data = patients((1, 1, 0, 0, 1, 1), (0, 1, 0, 0, 1, 1))
    assert coding.num_specific_positive(data).tolist() == [2, 1]
