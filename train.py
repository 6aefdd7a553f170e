"""A cohort in, a model out: ``python train.py CONFIG`` -> ``runs/<name>/model.hrct``.

Reads top to bottom; every step is a call into a room. Cross-fitting throughout: calibration, prediction sets and the
prognostic head only ever see what a network said of patients it was not trained on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from data_pipeline.dataset import GraphDataset
from data_pipeline.graph import build_augment
from data_pipeline.manifest import read_cases
from data_pipeline.splits import repeated_folds
from data_pipeline.training_cohort import TrainingCohort, load_training_cohort
from domain.antibodies import AntibodyVocabulary, load_antibody_vocabulary
from domain.batch_keys import IMAGE
from domain.cohort import code_cohort, with_outcomes
from domain.command_line import RESEARCH_NOTICE, configure_logging, run_command
from domain.config_files import resolve_config
from domain.covariates import CovariateVocabulary, load_covariate_vocabulary
from domain.endpoints import Endpoint, load_endpoint
from domain.errors import ExitCode, InputError
from domain.patterns import PATTERNS, load_pattern_vocabulary
from domain.prognostic_data import PrognosticData
from domain.progress import StepProgress
from domain.quantities import NETWORK_QUANTITIES, TABLE_QUANTITIES
from domain.records import Case, SeriesRef, SeriesTable, is_synthetic
from domain.settings import EvaluateSettings, PrognosisSettings, TrainSettings
from domain.specs import PreprocessSpec
from domain.strict_yaml import load_settings
from domain.whole_files import write_whole
from evaluation.evaluate_predictions import default_context, evaluate
from models import PrognosticModel
from models.artefact import ArtefactParts, save_artefact
from models.artefact_format import CohortSummary
from models.backbones import BACKBONES
from models.belief import fit_belief
from models.cross_fitting import CrossFit, cross_fit
from models.fitting import RunContext
from models.prognosis import sample_size_report
from models.trainer import is_first_process
from reports import evaluation_page

SETTINGS_NAME = "settings.yaml"
EXAMPLE = """examples:
  python train.py configs/train/demo.yaml
  python train.py my_cohort.yaml --set training.max_epochs=60 --set name=longer
  python train.py my_cohort.yaml --check
  python train.py --resume runs/my_cohort
"""

SCANNER_COLUMNS = ("manufacturer", "kernel", "slice_thickness_mm")
SLOW_COMPARATORS = ("forest", "boosting")  # `evaluate.py` fits them, too

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """Everything the settings name, loaded and checked before any scan is read."""

    settings: TrainSettings
    preprocess: PreprocessSpec
    antibodies: AntibodyVocabulary
    covariates: CovariateVocabulary
    endpoints: tuple[Endpoint, ...]

    @property
    def run_dir(self) -> Path:
        """Where everything of this run goes."""
        return Path(self.settings.output_dir) / self.settings.name


def make_plan(settings: TrainSettings) -> Plan:
    """Load what the settings name.

    Raises:
        SettingsError: A file is missing or wrong, or a parameter of a component is misspelt.
        RegistryError: A component does not exist.
    """
    BACKBONES.check(settings.network.backbone)
    build_augment(settings.augment)
    return Plan(
        settings,
        load_settings(PreprocessSpec, resolve_config(settings.preprocess, "preprocess")),
        load_antibody_vocabulary(settings.vocabularies.antibodies),
        load_covariate_vocabulary(settings.vocabularies.covariates),
        tuple(load_endpoint(name) for name in settings.vocabularies.endpoints),
    )


def run(plan: Plan, progress: StepProgress) -> Path:
    """Train, calibrate, fit the head, evaluate out of fold, write the artefact.

    Returns:
        The model folder.
    """
    settings = plan.settings
    write_whole(plan.run_dir / SETTINGS_NAME, yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))
    table = read_table(plan)
    cache_dir = Path(settings.data.cache_dir) if settings.data.cache_dir else plan.run_dir / "cache"
    cohort = load_training_cohort(
        table, Path(settings.data.scans), plan.preprocess, cache_dir=cache_dir, progress=progress
    )
    write_exclusions(plan, cohort, progress)
    items = GraphDataset(cohort.samples, plan.preprocess, cache_dir=cache_dir)

    all_pairs = repeated_folds(cohort.cases, **settings.split.model_dump(), seed=settings.seed)
    pairs = all_pairs[: settings.split.num_folds]
    fitted = cross_fit(
        items.unfinished(),
        all_pairs,
        settings.network,
        settings.training,
        groups=[case.patient_id for case in cohort.cases],
        run=RunContext(
            seed=settings.seed,
            run_dir=plan.run_dir / "networks",
            progress=progress,
            finish=items.tail,
            augment=build_augment(settings.augment) if settings.augment.steps else None,
        ),
    )
    if not is_first_process():
        return plan.run_dir / "model.hrct"  # under torchrun, the first process goes on alone
    belief = fit_belief(fitted.outputs, [held_out for _, held_out in pairs])
    probabilities = belief.calibrated(fitted.outputs)

    everyone = (*cohort.cases, *without_image(table, cohort))  # the head learns from rows without a scan, too
    data = with_image_blocks(code_cohort(everyone, plan.antibodies, plan.covariates), fitted, probabilities)
    heads = fit_heads(plan, everyone, data, progress)
    predictions = out_of_fold_predictions(plan, everyone, data, pairs, scan_tables(cohort))
    results = evaluate_out_of_fold(plan, cohort.cases, predictions)

    parts = ArtefactParts(
        name=settings.name,
        trained_on=settings.trained_on,
        model=settings.network,
        preprocess=plan.preprocess,
        members=[member.network for member in fitted.members],
        num_channels=int(items[0][IMAGE].shape[0]),
        belief=belief,
        antibodies=plan.antibodies,
        covariates=plan.covariates,
        endpoints=plan.endpoints,
        cohort=summarise(everyone, num_scans=len(cohort.cases)),
        prognosis={name: head.to_dict() for name, head in heads.items()},
        results=results,
    )
    return save_artefact(plan.run_dir / "model.hrct", parts)


def read_table(plan: Plan) -> tuple[Case, ...]:
    """The case table, its events checked against every endpoint."""
    path = Path(plan.settings.data.cases)
    return read_cases(path, plan.antibodies, plan.covariates, load_pattern_vocabulary(), endpoints=plan.endpoints)


def write_exclusions(plan: Plan, cohort: TrainingCohort, progress: StepProgress) -> None:
    """List the cases that were left out, and say so on screen."""
    frame = pd.DataFrame([asdict(item) for item in cohort.excluded], columns=["case_id", "code", "message"])
    write_whole(plan.run_dir / "excluded.csv", frame.to_csv(index=False))
    if len(frame):
        total = len(frame) + len(cohort.cases)
        where = plan.run_dir / "excluded.csv"
        progress.say(f"{len(frame)} of {total} scans cannot be used ({where}); the head still learns from their rows")


def without_image(table: Sequence[Case], cohort: TrainingCohort) -> tuple[Case, ...]:
    """Rows of the table without a usable scan."""
    used = {case.case_id for case in cohort.cases}
    return tuple(case for case in table if case.case_id not in used)


def scan_tables(cohort: TrainingCohort) -> list[SeriesTable]:
    """Header facts of each scan, row by row."""
    return [sample.source.table for sample in cohort.samples if isinstance(sample.source, SeriesRef)]


def with_image_blocks(tables: PrognosticData, fitted: CrossFit, probabilities: NDArray[np.float64]) -> PrognosticData:
    """Tables with the image blocks of the same patients beside them, all of them out of fold.

    Rows beyond those of the network are patients without a scan: their blocks are NaN.
    """

    def padded(block: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.pad(block, ((0, len(tables) - len(block)), (0, 0)), constant_values=np.nan)

    return tables.replaced(
        embedding=padded(fitted.outputs.embedding),
        pattern_probabilities=padded(probabilities),
        quantitative_names=NETWORK_QUANTITIES,
        quantitative=padded(fitted.outputs.quantitative),
        patterns_out_of_fold=True,
    )


def fit_heads(
    plan: Plan, cases: Sequence[Case], data: PrognosticData, progress: StepProgress
) -> dict[str, PrognosticModel]:
    """One prognostic model per endpoint, on the cases whose outcome is known."""
    heads: dict[str, PrognosticModel] = {}
    for endpoint in plan.endpoints:
        if not (known := known_outcomes(cases, endpoint)).size:
            progress.say(f"no case has an outcome: no prognosis for {endpoint.name!r}")
            continue
        training = with_outcomes(data, cases, endpoint).take(known)
        for line in sample_size_report(training, plan.settings.prognosis, endpoint).lines():
            progress.say(line)
        heads[endpoint.name] = PrognosticModel.fit(training, plan.settings.prognosis, endpoint)
    return heads


def known_outcomes(cases: Sequence[Case], endpoint: Endpoint) -> Rows:
    """Rows with an outcome."""
    return np.flatnonzero([case.outcome_in(endpoint.event_column) is not None for case in cases])


def out_of_fold_predictions(
    plan: Plan,
    cases: Sequence[Case],
    data: PrognosticData,
    pairs: Sequence[tuple[Rows, Rows]],
    scans: Sequence[SeriesTable],
) -> pd.DataFrame:
    """Pattern and prognosis of every case with a scan, by models that never saw it; columns of ``predictions.csv``."""
    endpoint = plan.endpoints[0]
    num_scans = len(scans)
    assert data.pattern_probabilities is not None
    probabilities = data.pattern_probabilities[:num_scans]
    frame = pd.DataFrame({"case_key": data.case_ids[:num_scans]})
    for index, pattern in enumerate(PATTERNS):
        frame[f"p_{pattern}"] = probabilities[:, index]
    frame["pattern"] = [PATTERNS[index].value for index in probabilities.argmax(axis=1)]
    for name in SCANNER_COLUMNS:  # evaluation looks for shortcuts through them
        frame[name] = [getattr(scan, name) for scan in scans]
    assert data.quantitative is not None
    for name in TABLE_QUANTITIES:
        frame[name] = data.quantitative[:num_scans, data.quantitative_names.index(name)]
    quick = PrognosisSettings.model_validate(plan.settings.prognosis.model_dump() | {"num_bootstrap": 0})
    with_outcome = with_outcomes(data, cases, endpoint)
    known = known_outcomes(cases, endpoint)
    for fold, (_, held_out) in enumerate(pairs):
        frame.loc[held_out, "fold"] = fold
        patients = {cases[row].patient_id for row in held_out}
        training_rows = np.array([row for row in known if cases[row].patient_id not in patients], dtype=np.int64)
        if not training_rows.size:
            continue
        head = PrognosticModel.fit(with_outcome.take(training_rows), quick, endpoint)
        for column, values in horizon_columns(head, data.take(held_out), endpoint).items():
            frame.loc[held_out, column] = values
    risk = 1 - frame.get(f"survival_{endpoint.risk_horizon_days}d", pd.Series(np.nan, frame.index))
    frame["risk_group"] = [endpoint.risk_group(value) if np.isfinite(value) else "" for value in risk]
    write_whole(plan.run_dir / "out_of_fold.csv", frame.to_csv(index=False))
    return frame


def horizon_columns(head: PrognosticModel, data: PrognosticData, endpoint: Endpoint) -> dict[str, NDArray[np.float64]]:
    """``survival_<d>d`` and ``cif_<cause>_<d>d`` of some patients."""
    days = np.array(endpoint.horizons_days, dtype=np.float64)
    survival = head.survival(data, days)
    columns = {f"survival_{day:g}d": survival[:, index] for index, day in enumerate(days)}
    for cause, incidence in head.cumulative_incidence(data, days).items():
        columns |= {f"cif_{cause}_{day:g}d": incidence[:, index] for index, day in enumerate(days)}
    return columns


def evaluate_out_of_fold(plan: Plan, cases: Sequence[Case], predictions: pd.DataFrame) -> dict[str, float | str]:
    """Write the out-of-fold evaluation page; gives the figures the card shows."""
    trained_on = plan.settings.trained_on
    context = default_context(
        antibodies=plan.antibodies,
        covariates=plan.covariates,
        trained_on=trained_on,
        is_synthetic=is_synthetic(trained_on),
    )
    settings = EvaluateSettings(
        endpoint=plan.settings.vocabularies.endpoints[0], num_bootstrap=200, skip_comparators=SLOW_COMPARATORS
    )
    result = evaluate(predictions, cases, plan.endpoints[0], settings, context)
    evaluation_page.write(result, plan.run_dir / "evaluation" / "report.html")
    return result.headline()


def summarise(cases: Sequence[Case], *, num_scans: int) -> CohortSummary:
    """The training cohort in numbers."""
    votes = [pattern for case in cases for pattern in case.pattern_votes.values()]
    return CohortSummary(
        num_patients=len({case.patient_id for case in cases}),
        num_scans=num_scans,
        num_labelled=sum(bool(case.pattern_votes) for case in cases),
        patterns={pattern.value: float(votes.count(pattern)) for pattern in PATTERNS},
        sites=len({case.site for case in cases}),
    )


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Command line of the contract."""
    parser = argparse.ArgumentParser(
        prog="train.py",
        description=f"Train the pattern network and the prognostic head on a cohort. {RESEARCH_NOTICE}",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", type=Path, nargs="?", help="training settings (YAML); configs/train/ has examples")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="a.b=value")
    parser.add_argument(
        "--check", action="store_true", help="check settings, vocabularies and components; touch no data"
    )
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on with the interrupted run in this folder")
    parser.add_argument("--verbose", action="store_true", help="say more on screen")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> ExitCode:
    """Check, then train."""
    args = parse(arguments)
    configure_logging(verbose=args.verbose)
    if (args.config is None) == (args.resume is None):
        raise InputError("give either a settings file or --resume RUN; `python train.py --help` shows examples")
    config = args.config or args.resume / SETTINGS_NAME
    plan = make_plan(load_settings(TrainSettings, config, args.overrides))
    if args.check:
        print(f"{config}: the settings are valid; a run would write {plan.run_dir}")
        return ExitCode.OK
    with StepProgress() as progress:
        model = run(plan, progress)
    print(f"model: {model}\nout-of-fold evaluation: {plan.run_dir / 'evaluation' / 'report.html'}")
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
