"""A cohort in, a model out: ``python train.py CONFIG`` -> ``runs/<name>/model.hrct``.

Three kinds of settings: ``network`` (pattern network and prognostic head from scans), ``head`` (the head alone, from
tables and stored features) and ``recalibration`` (an existing model moved to a new site or era). Every step is a call
into a room. Cross-fitting throughout: calibration, prediction sets and the prognostic head only ever see what a
network said of patients it was not trained on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from data_pipeline.dataset import GraphDataset
from data_pipeline.graph import build_augment
from data_pipeline.manifest import read_cases
from data_pipeline.splits import grouped_folds, repeated_folds
from data_pipeline.training_cohort import TrainingCohort, load_training_cohort
from domain.batch_keys import IMAGE
from domain.cohort import code_cohort
from domain.command_line import RESEARCH_NOTICE, configure_logging, run_command
from domain.config_files import resolve_config
from domain.errors import ExitCode, InputError
from domain.patterns import load_pattern_vocabulary
from domain.prognostic_data import PrognosticData
from domain.progress import StepProgress
from domain.records import Case, SeriesRef, is_synthetic
from domain.settings import (
    EvaluateSettings,
    HeadSettings,
    RecalibrationSettings,
    TableSettings,
    TrainSettings,
)
from domain.specs import PreprocessSpec, digest_of
from domain.strict_yaml import load_one_of, load_settings
from domain.vocabularies import Vocabularies, load_vocabularies
from domain.whole_files import write_whole
from evaluation.evaluate_predictions import default_context, evaluate
from models.artefact import load_artefact
from models.artefact_format import CohortSummary
from models.artefact_writing import ArtefactParts, save_artefact, save_recalibrated
from models.backbones import BACKBONES
from models.belief import cross_calibrated, fit_belief
from models.cross_fit_blocks import with_image_blocks
from models.cross_fitting import cross_fit
from models.fitting import RunContext
from models.prognosis.cross_fitting import (
    fit_heads,
    image_columns,
    out_of_fold_columns,
    with_event_time_intervals,
)
from models.prognosis.feature_table import read_feature_table, with_features
from models.prognosis.recalibrated_heads import recalibrated_heads
from models.trainer import is_first_process
from reports import evaluation_page

SETTINGS_NAME = "settings.yaml"
MODEL_NAME = "model.hrct"
EXAMPLE = """examples:
  python train.py configs/train/demo.yaml
  python train.py my_cohort.yaml --set training.max_epochs=60 --set name=longer
  python train.py my_cohort.yaml --check
  python train.py --resume runs/my_cohort
  python train.py configs/train/head_only.yaml --set data.cases=cases.csv
  python train.py configs/train/recalibration.yaml --set parent=runs/my_cohort/model.hrct
"""

SCANNER_COLUMNS = ("manufacturer", "kernel", "slice_thickness_mm")
SLOW_COMPARATORS = ("forest", "boosting")  # `evaluate.py` fits them, too

AnySettings = TrainSettings | HeadSettings | RecalibrationSettings
KINDS: dict[str, type[AnySettings]] = {
    "network": TrainSettings,
    "head": HeadSettings,
    "recalibration": RecalibrationSettings,
}


@dataclass(frozen=True)
class Plan:
    """Everything the settings of a network name, loaded and checked before any scan is read."""

    settings: TrainSettings
    preprocess: PreprocessSpec
    words: Vocabularies

    @property
    def run_dir(self) -> Path:
        """Where everything of this run goes."""
        return run_dir_of(self.settings)


def run_dir_of(settings: AnySettings) -> Path:
    """Where everything of a run goes."""
    return Path(settings.output_dir) / settings.name


def make_plan(settings: TrainSettings) -> Plan:
    """Load what the settings name.

    Raises:
        SettingsError: A file is missing or wrong, or a parameter of a component is misspelt.
        RegistryError: A component does not exist.
    """
    BACKBONES.check(settings.network.backbone)
    build_augment(settings.augment)
    preprocess = load_settings(PreprocessSpec, resolve_config(settings.preprocess, "preprocess"))
    return Plan(settings, preprocess, load_vocabularies(settings.vocabularies))


# ------------------------------------------------------------------------------------------- network and head


def run(plan: Plan, progress: StepProgress) -> Path:
    """Train, calibrate, fit the head, evaluate out of fold, write the artefact.

    Returns:
        The model folder.
    """
    settings = plan.settings
    write_settings(settings)
    table = read_table(settings.data.cases, plan.words)
    cache_dir = Path(settings.data.cache_dir) if settings.data.cache_dir else plan.run_dir / "cache"
    cohort = read_cohort(plan, table, cache_dir, progress)
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
            data_digest=digest_of([cohort.digest, plan.preprocess.digest, settings.augment.model_dump(mode="json")]),
        ),
    )
    if not is_first_process():
        return plan.run_dir / MODEL_NAME  # under torchrun, the first process goes on alone
    held_out = [rows for _, rows in pairs]
    belief = fit_belief(fitted.outputs, held_out)
    probabilities = cross_calibrated(fitted.outputs, held_out)

    everyone = (*cohort.cases, *without_image(table, cohort))  # the head learns from rows without a scan, too
    tables = code_cohort(everyone, plan.words.antibodies, plan.words.covariates)
    data = with_image_blocks(tables, fitted, probabilities)
    heads = fit_heads(everyone, data, plan.words.endpoints, settings.prognosis, progress.say)
    columns = out_of_fold_columns(everyone, data, plan.words.endpoints[0], held_out, settings.prognosis)
    heads = with_event_time_intervals(heads, plan.words.endpoints[0], everyone, data, columns)
    predictions = pd.concat([image_columns(data), columns], axis=1).iloc[: len(cohort.cases)]
    results = evaluate_out_of_fold(settings, plan.words, cohort.cases, with_scanners(predictions, cohort))

    parts = ArtefactParts(
        name=settings.name,
        trained_on=settings.trained_on,
        model=settings.network,
        preprocess=plan.preprocess,
        members=[member.network for member in fitted.members],
        num_channels=int(items[0][IMAGE].shape[0]),
        belief=belief,
        antibodies=plan.words.antibodies,
        covariates=plan.words.covariates,
        endpoints=plan.words.endpoints,
        cohort=CohortSummary.of(everyone, num_scans=len(cohort.cases)),
        prognosis={name: head.to_dict() for name, head in heads.items()},
        results=results,
    )
    return save_artefact(plan.run_dir / MODEL_NAME, parts)


def read_cohort(plan: Plan, table: Sequence[Case], cache_dir: Path, progress: StepProgress) -> TrainingCohort:
    """Send every scan through the graph, and list the cases that were left out."""
    settings = plan.settings
    with_scan = [case for case in table if case.scan is not None]
    if with_scan:  # what cannot be split is refused before scans are read
        repeated_folds(with_scan, **settings.split.model_dump(), seed=settings.seed)
    cohort = load_training_cohort(
        table,
        Path(settings.data.scans),
        plan.preprocess,
        cache_dir=cache_dir,
        progress=progress,
        num_processes=settings.data.num_workers or None,
    )
    write_exclusions(plan, cohort, progress)
    return cohort


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


def with_scanners(predictions: pd.DataFrame, cohort: TrainingCohort) -> pd.DataFrame:
    """Header facts of each scan beside its row: evaluation looks for shortcuts through them."""
    scans = [sample.source.table for sample in cohort.samples if isinstance(sample.source, SeriesRef)]
    return predictions.assign(**{name: [getattr(scan, name) for scan in scans] for name in SCANNER_COLUMNS})


# --------------------------------------------------------------------------------------------- the head alone


def run_head(settings: HeadSettings, words: Vocabularies, progress: StepProgress) -> Path:
    """Fit the head on a case table and stored features, evaluate out of fold, write an artefact without a network.

    Returns:
        The model folder.
    """
    write_settings(settings)
    cases = read_table(settings.data.cases, words)
    data = table_data(cases, settings.data, words)
    heads = fit_heads(cases, data, words.endpoints, settings.prognosis, progress.say)
    folds = grouped_folds(
        cases, num_folds=settings.split.num_folds, seed=settings.seed, group_by_site=settings.split.group_by_site
    )
    held_out = [np.flatnonzero(folds == fold) for fold in range(settings.split.num_folds)]
    columns = out_of_fold_columns(cases, data, words.endpoints[0], held_out, settings.prognosis)
    heads = with_event_time_intervals(heads, words.endpoints[0], cases, data, columns)
    predictions = pd.concat([image_columns(data), columns], axis=1)
    parts = ArtefactParts(
        name=settings.name,
        trained_on=settings.trained_on,
        antibodies=words.antibodies,
        covariates=words.covariates,
        endpoints=words.endpoints,
        cohort=CohortSummary.of(cases, num_scans=0),
        prognosis={name: head.to_dict() for name, head in heads.items()},
        results=evaluate_out_of_fold(settings, words, cases, predictions),
    )
    return save_artefact(run_dir_of(settings) / MODEL_NAME, parts)


def table_data(cases: Sequence[Case], where: TableSettings, words: Vocabularies) -> PrognosticData:
    """Coded tables, stored image features beside them where there are any."""
    data = code_cohort(cases, words.antibodies, words.covariates)
    if not where.features:
        return data
    return with_features(data, read_feature_table(Path(where.features)), out_of_fold=where.features_out_of_fold)


# --------------------------------------------------------------------------------------------- recalibration


def recalibrate(settings: RecalibrationSettings, progress: StepProgress) -> Path:
    """Move the risk levels of an existing model to a new cohort; its network and effects stay as they are.

    Returns:
        The new model folder.
    """
    parent = load_artefact(settings.parent, device="cpu", with_self_test=False)
    facts = parent.manifest
    words = Vocabularies(facts.antibodies, facts.covariates, facts.endpoints)
    write_settings(settings)
    cases = read_table(settings.data.cases, words)
    heads, rows = recalibrated_heads(
        parent.prognostic_models,
        cases,
        table_data(cases, settings.data, words),
        settings.method,
        num_folds=settings.num_folds,
        seed=settings.seed,
    )
    frame = pd.DataFrame([asdict(row) for row in rows])
    write_whole(run_dir_of(settings) / "before_after.csv", frame.to_csv(index=False))
    for row in rows:
        progress.say(row.line())
    return save_recalibrated(
        run_dir_of(settings) / MODEL_NAME,
        Path(settings.parent),
        {name: head.to_dict() for name, head in heads.items()},
        name=settings.name,
        recalibrated_on=settings.recalibrated_on,
    )


# ------------------------------------------------------------------------------------------------ every kind


def write_settings(settings: AnySettings) -> None:
    """Write the settings beside the run, defaults included."""
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)
    write_whole(run_dir_of(settings) / SETTINGS_NAME, text)


def read_table(cases: str, words: Vocabularies) -> tuple[Case, ...]:
    """The case table, its events checked against every endpoint."""
    patterns = load_pattern_vocabulary()
    return read_cases(Path(cases), words.antibodies, words.covariates, patterns, endpoints=words.endpoints)


def evaluate_out_of_fold(
    settings: TrainSettings | HeadSettings, words: Vocabularies, cases: Sequence[Case], predictions: pd.DataFrame
) -> dict[str, float | str]:
    """Write the out-of-fold table and its evaluation page; gives the figures the card shows."""
    run_dir = run_dir_of(settings)
    predictions = predictions.assign(endpoint=words.endpoints[0].name, trained_on=settings.trained_on)
    write_whole(run_dir / "out_of_fold.csv", predictions.to_csv(index=False))
    context = default_context(
        antibodies=words.antibodies,
        covariates=words.covariates,
        trained_on=settings.trained_on,
        is_synthetic=is_synthetic(settings.trained_on),
    )
    options = EvaluateSettings(
        endpoint=settings.vocabularies.endpoints[0], num_bootstrap=200, skip_comparators=SLOW_COMPARATORS
    )
    result = evaluate(predictions, cases, words.endpoints[0], options, context)
    evaluation_page.write(result, run_dir / "evaluation" / "report.html")
    return result.headline()


def check(settings: AnySettings) -> Callable[[StepProgress], Path]:
    """Load and check what the settings name; gives the work to be done."""
    if isinstance(settings, TrainSettings):
        return partial(run, make_plan(settings))
    if isinstance(settings, HeadSettings):
        return partial(run_head, settings, load_vocabularies(settings.vocabularies))
    return partial(recalibrate, settings)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Command line of the contract."""
    parser = argparse.ArgumentParser(
        prog="train.py",
        description=f"Train the pattern network and the prognostic head on a cohort, the head alone on tables, or "
        f"recalibrate a model. {RESEARCH_NOTICE}",
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
    settings: AnySettings = load_one_of(KINDS, config, args.overrides, default="network")
    run_dir = run_dir_of(settings)
    work = check(settings)
    if args.check:
        print(f"{config}: the settings are valid; a run would write {run_dir}")
        return ExitCode.OK
    with StepProgress() as progress:
        model = work(progress)
    print(f"model: {model}")
    if isinstance(settings, RecalibrationSettings):
        print(f"before and after: {run_dir / 'before_after.csv'}")
    else:
        print(f"out-of-fold evaluation: {run_dir / 'evaluation' / 'report.html'}")
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
