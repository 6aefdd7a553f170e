"""The prognostic head without scans: trained on tables, used on tables, moved to another site.

In this process, where importing torch has been paid for; that the scripts run in fresh ones is tested beside this."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import evaluate
import infer
import train
from data_pipeline.phantoms.case_table import write_case_table
from data_pipeline.phantoms.patients import CohortSettings, draw_truths
from domain.antibodies import load_antibody_vocabulary
from domain.covariates import load_covariate_vocabulary
from domain.errors import ArtefactError, ExitCode, PrognosisDataError
from models import PrognosticModel, load_artefact
from models.__main__ import main as models_command
from models.artefact_format import read_manifest
from models.selftest import make_volume
from tests.end_to_end.conftest import Trained, command

HEAD_ONLY, RECALIBRATION = "configs/train/head_only.yaml", "configs/train/recalibration.yaml"
PROBABILITIES = ("p_nsip", "p_op", "p_mixed", "p_other")
EXAMPLE = "configs/examples/whas500/train.yaml"
YES_NO = ("afb", "av3", "chf", "cvd", "miord", "mitype", "sho")


def run_train(*words: str | Path) -> None:
    """``train.py`` with these words and ``--set`` before each further one."""
    config, *settings = map(str, words)
    assert train.main([config, *(word for setting in settings for word in ("--set", setting))]) == ExitCode.OK


def whas500(path: Path) -> pd.DataFrame:
    """WHAS500 as a case table."""
    datasets = pytest.importorskip("sksurv.datasets", reason="WHAS500 ships in scikit-survival (extra eval)")
    features, target = datasets.load_whas500()
    table = pd.DataFrame({"case_id": [f"w{index:03d}" for index in range(len(features))]})
    units = {"age": "age_years", "bmi": "bmi_kg_m2", "hr": "hr_per_min", "sysbp": "sysbp_mmhg", "diasbp": "diasbp_mmhg"}
    for name, column in units.items():
        table[column] = features[name].astype(float)
    table["sex"] = np.where(features["gender"].astype(int) == 1, "female", "male")
    for name in YES_NO:
        table[name] = np.where(features[name].astype(int) == 1, "yes", "no")
    table["lenfol"], table["fstat"] = target["lenfol"], np.where(target["fstat"], "dead", "alive")
    table.to_csv(path, index=False)
    return table


def test_another_disease_needs_only_yaml_and_ranks_like_ridge_cox(tmp_path: Path) -> None:
    table = whas500(tmp_path / "cases.csv")
    run_train(EXAMPLE, f"data.cases={tmp_path}/cases.csv", f"output_dir={tmp_path}", "prognosis.num_bootstrap=0")
    from sksurv.linear_model import CoxPHSurvivalAnalysis
    from sksurv.metrics import concordance_index_censored
    from sksurv.util import Surv

    ours = pd.read_csv(tmp_path / "whas500" / "out_of_fold.csv")
    assert ours["case_key"].tolist() == table["case_id"].tolist()
    numeric = pd.get_dummies(table.drop(columns=["case_id", "lenfol", "fstat"]), drop_first=True, dtype=float)
    scaled = ((numeric - numeric.mean()) / numeric.std()).to_numpy()
    died, days = (table["fstat"] == "dead").to_numpy(), table["lenfol"].to_numpy(dtype=float)
    outcome = Surv.from_arrays(died, days)
    differences = []
    for fold in ours["fold"].unique():
        out = (ours["fold"] == fold).to_numpy()
        cox = CoxPHSurvivalAnalysis(alpha=0.1).fit(scaled[~out], outcome[~out])
        theirs = concordance_index_censored(died[out], days[out], cox.predict(scaled[out]))[0]
        head = concordance_index_censored(died[out], days[out], 1 - ours.loc[out, "survival_1096d"].to_numpy())[0]
        differences.append(head - theirs)
    assert np.mean(differences) > -0.010


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Case tables of synthetic patients, and image features of the first site as if stored by an earlier run."""
    folder = tmp_path_factory.mktemp("tables")
    for name, seed in (("training", 3), ("site", 4)):
        truths = draw_truths(CohortSettings(seed=seed, num_patients=160))
        cases = [patient.case for patient in truths]
        write_case_table(folder / f"{name}.csv", cases, load_antibody_vocabulary(), load_covariate_vocabulary())
        features = pd.DataFrame({"case_id": [patient.case.case_id for patient in truths]})
        features["ggo_percent"] = [float(patient.columns["ground_glass"]) for patient in truths]
        shares = np.random.default_rng(seed).dirichlet(np.ones(4), len(truths))
        features[["p_nsip", "p_op", "p_mixed", "p_other"]] = shares
        features.iloc[:120].to_csv(folder / f"{name}_features.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def head(tables: Path) -> Path:
    run_train(
        HEAD_ONLY,
        f"data.cases={tables}/training.csv",
        f"data.features={tables}/training_features.csv",
        "data.features_out_of_fold=true",
        f"output_dir={tables}",
        "prognosis.num_bootstrap=20",
        "split.num_folds=2",
        "vocabularies.endpoints=[course,death]",
        "trained_on=synthetic patients",
    )
    return tables / "head_only" / "model.hrct"


def test_a_head_alone_is_a_model_folder_with_every_endpoint(head: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = read_manifest(head)
    assert manifest.model is None
    assert set(manifest.prognosis) == {"course", "death"}
    own = pd.read_csv(head.parent / "out_of_fold.csv")
    assert own["trained_on"].eq("synthetic patients").all()  # a page made from it later says so, too
    assert own["endpoint"].eq("course").all()
    restored = PrognosticModel.from_dict(manifest.prognosis["course"])
    assert restored.state.space.image.names  # the stored features were used
    assert "reads no scan" in " ".join((head / "CARD.md").read_text().split())
    assert models_command(["verify", str(head)]) == ExitCode.OK
    assert "a prognostic head alone" in capsys.readouterr().out


def test_a_head_alone_refuses_scans_in_words(head: Path) -> None:
    with pytest.raises(ArtefactError, match="it reads no scan"):
        infer.ModelFacts.of(head, without_model=infer.NO_MODEL)
    artefact = load_artefact(head)
    with pytest.raises(ArtefactError, match="it reads no scan"):
        artefact.preprocess(make_volume())
    assert artefact.analyse(None, antibodies={"mda5": "positive"}).prediction.prognoses[0].mode == "tables_only"


def test_in_sample_features_are_refused(tables: Path, tmp_path: Path) -> None:
    with pytest.raises(PrognosisDataError, match="trained on these same patients"):
        run_train(
            HEAD_ONLY,
            f"data.cases={tables}/training.csv",
            f"data.features={tables}/training_features.csv",
            "data.features_out_of_fold=false",
            f"output_dir={tmp_path}",
        )


def test_a_table_is_answered_and_evaluated(head: Path, tables: Path, tmp_path: Path) -> None:
    cases, predictions = f"{tables}/site.csv", f"{tmp_path}/predictions.csv"
    features = f"{tables}/site_features.csv"
    words = ["predict", str(head), "--cases", cases, "--features", features, "--out", predictions]
    assert models_command(words) == ExitCode.OK
    rows = pd.read_csv(tmp_path / "predictions.csv")
    assert len(rows) == 160
    assert rows["trained_on"].eq("synthetic patients").all()
    total = rows["survival_365d"] + sum(rows[f"cif_{cause}_365d"] for cause in ("death", "progression", "transplant"))
    np.testing.assert_allclose(total, 1, atol=1e-9)
    assert (rows["survival_365d_lo"] <= rows["survival_365d_hi"]).all()
    assert sum("image" in used.split() for used in rows["inputs_used"]) == 120
    assert "risk_group" in rows
    assert rows["endpoint"].eq("course").all()
    evaluated = [predictions, "--cases", cases, "--out", f"{tmp_path}/evaluation", "--bootstrap", "20"]
    assert evaluate.main(evaluated) == ExitCode.OK


def test_a_hash_in_a_cell_is_no_comment_and_ids_keep_their_zeros(head: Path, tmp_path: Path) -> None:
    rows = [
        "# a comment",
        "case_id;site;ab_mda5;age_years",
        "001;Hospital #2;positive;60",
        "002;Hospital 2;positive;60",
    ]
    (tmp_path / "cases.csv").write_text("\n".join(rows), encoding="utf-8")
    features = pd.DataFrame(
        {"case_key": ["001", "002"]} | {name: [0.7, 0.7] if name == "p_nsip" else [0.1, 0.1] for name in PROBABILITIES}
    )
    features.to_csv(tmp_path / "features.csv", index=False)
    words = ["predict", str(head), "--cases", f"{tmp_path}/cases.csv", "--features", f"{tmp_path}/features.csv"]
    assert models_command([*words, "--out", f"{tmp_path}/answers.csv"]) == ExitCode.OK
    answers = pd.read_csv(tmp_path / "answers.csv", dtype={"case_key": str})
    assert answers["case_key"].tolist() == ["001", "002"]
    assert answers["survival_365d"].nunique() == 1
    assert all("mda5" in used and "image" in used for used in answers["inputs_used"])


def test_a_table_without_rows_is_said(head: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.csv").write_text("", encoding="utf-8")
    words = ["predict", str(head), "--cases", f"{tmp_path}/empty.csv", "--out", f"{tmp_path}/answers.csv"]
    assert models_command(words) == ExitCode.NOTHING_RUN
    assert "empty.csv: 1 problem(s)" in capsys.readouterr().err


def test_recalibration_names_its_parent_and_moves_only_the_level(head: Path, tables: Path, tmp_path: Path) -> None:
    early = pd.read_csv(tables / "site.csv")
    early["time_days"] = (early["time_days"] * 0.5).round(1)  # the same patients, twice the hazard
    early.to_csv(tmp_path / "site.csv", index=False)
    run_train(
        RECALIBRATION,
        f"parent={head}",
        f"data.cases={tmp_path}/site.csv",
        f"data.features={tables}/site_features.csv",
        f"output_dir={tmp_path}",
    )
    old, new = read_manifest(head), read_manifest(tmp_path / "recalibrated" / "model.hrct")
    assert new.parent == old.digest
    assert new.trained_on == "synthetic patients; recalibrated on synthetic patients of another site"
    rows = pd.read_csv(tmp_path / "recalibrated" / "before_after.csv")
    course = rows[(rows["endpoint"] == "course") & rows["note"].isna()]
    assert len(course) >= 2
    before = (course["expected_before"] - course["num_events"]).abs().sum()
    after = (course["expected_after"] - course["num_events"]).abs().sum()
    assert after < 0.3 * before
    assert (course["loss_after"] < course["loss_before"]).all()
    models = [PrognosticModel.from_dict(manifest.prognosis["course"]) for manifest in (old, new)]
    static = [model.state.hazards.static for model in models]
    assert np.array_equal(*static)
    assert models[1].state.recalibration_shift.max() > 0.3


def test_a_whole_model_is_recalibrated_on_what_infer_wrote(trained: Trained, tmp_path: Path) -> None:
    out = tmp_path / "out"
    answer = command(
        "infer.py", trained.training / "scans", "--model", trained.model, "--cases", trained.training / "cases.csv",
        "--out", out, "--device", "cpu",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    run_train(
        RECALIBRATION,
        f"parent={trained.model}",
        f"data.cases={trained.training}/cases.csv",
        f"data.features={out}",
        f"output_dir={tmp_path}",
    )
    load_artefact(tmp_path / "recalibrated" / "model.hrct")  # with its self-test
    assert read_manifest(tmp_path / "recalibrated" / "model.hrct").parent == read_manifest(trained.model).digest


def test_settings_of_every_kind_can_be_checked() -> None:
    for config in (HEAD_ONLY, RECALIBRATION, EXAMPLE):
        assert train.main([config, "--check"]) == ExitCode.OK
