"""Settings of the three commands. Each value has one default, here; nothing reads settings from anywhere else."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from domain.specs import AugmentSpec, ModelSpec, PretrainedWeights, Settings

RUN_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"  # it becomes a folder


class DataSettings(Settings):
    """Where the training cohort is."""

    scans: str
    cases: str
    cache_dir: str = ""
    num_workers: int = Field(default=0, ge=0, description="processes that read scans; 0: one per core")


class VocabularySettings(Settings):
    """Shipped names or a cohort's own YAML files."""

    antibodies: str = "antibodies"
    covariates: str = "covariates"
    endpoints: tuple[str, ...] = ("course",)


class SplitSettings(Settings):
    """How patients are divided. Patients never cross; sites are kept apart when asked."""

    num_folds: int = Field(default=3, ge=2)
    num_repeats: int = Field(default=1, ge=1, description="cross-fit again on other folds: more members, steadier")
    group_by_site: bool = False


class TrainingSettings(Settings):
    """Optimisation of the pattern network."""

    max_epochs: int = Field(default=20, ge=1)
    batch_size: int | None = Field(default=8, ge=1, description="null: chosen from the cohort and the memory")
    learning_rate: float | None = Field(default=1e-3, gt=0, description="null: chosen by a short range test")
    weight_decay: float = Field(default=1e-4, ge=0)
    label_smoothing: float = Field(default=0.05, ge=0, lt=0.5)
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    patience_epochs: int = Field(default=20, ge=1)
    auxiliary_weight: float = Field(
        default=0.3, ge=0, description="image branch: how much telling quantitative CT and extents counts beside labels"
    )
    class_balance: float = Field(default=0.5, ge=0, le=1, description="0: none, 1: all classes weigh the same")
    warmup_share: float = Field(default=0.1, ge=0, lt=1, description="share of all steps with a rising learning rate")
    gradient_clip: float = Field(default=1.0, gt=0)
    accumulate_batches: int = Field(default=1, ge=1)
    ema_decay: float = Field(
        default=0.0, ge=0, lt=1, description="0: off; weights averaged over about 1/(1-decay) steps"
    )
    compile_network: bool = False
    recompute_blocks: bool = Field(default=False, description="less memory for about a third more time per step")
    pretrained: PretrainedWeights | None = None
    num_devices: int = Field(default=1, ge=1, description="processes per machine, one GPU each")
    num_nodes: int = Field(default=1, ge=1, description="machines, as given to torchrun or SLURM")
    loggers: tuple[Literal["tensorboard", "mlflow"], ...] = Field(default=(), description="beside history.csv")
    num_loader_workers: int = Field(default=0, ge=0)
    keep_scans_in: Literal["auto", "gpu", "memory", "disk"] = Field(
        default="auto", description="auto: the GPU's memory where the scans fit, else the machine's, else the disk"
    )

    @property
    def chosen_batch_size(self) -> int:
        """Scans per step; the default where it has not been chosen yet."""
        return self.batch_size or 8

    @property
    def chosen_learning_rate(self) -> float:
        """Height of the schedule; the default where it has not been chosen yet."""
        return self.learning_rate or 1e-3

    def started(self, **values: float) -> TrainingSettings:
        """The settings with some values filled in."""
        return TrainingSettings.model_validate(self.model_dump() | values)


class PrognosisSettings(Settings):
    """Fit of the prognostic head. Penalties are precisions of Gaussian priors on log-hazard coefficients.

    Attributes:
        num_embedding_components: Principal components of the embedding. 0 unless all embeddings come from one space:
            networks trained on different folds have different axes, so their components are not one variable.
        main_penalty: Ridge on clinical and image columns, times the factor that wins in CV.
        antibody_penalties: Ridges on antibody groups tried in CV.
        gate_penalties: Strengths of the antibody x image/biomarker gates tried in CV, beside none at all. The fits of
            all strengths tried are averaged with weights from their held-out likelihood.
        deviation_penalty: Ridge on single antibodies around their group's effect.
        time_effect_penalty: Ridge on antibody x log-time.
        baseline_smoothness: Penalty on first differences of the log baseline.
        centre_penalty: 1 / variance of the random centre effect; 0 leaves centres out.
        masked_copy_weight: Weight of the copy of each patient without the antibody panel.
        masked_share_weight: Weight of the copies without the image, without the tables, and with one item masked.
        gate_groups: Antibody groups with gates and log-time effects.
        gate_covariates: Covariates whose effect may differ by antibody.
        untested_mode: ``state``: an untested antibody has an effect of its own; ``marginal``: average over its states.
        min_events_per_cause: Below it a cause is pooled with other rare ones, or gets a baseline only.
        weak_positive_weight: Evidence of a weak blot relative to a strong one (predictive values 0.71 and 0.96).
        try_residual: Try a neural correction; it is used only for causes where nested cross-validation says it wins.
        max_rows_for_search: Penalties are chosen on at most this many patients.
    """

    num_embedding_components: int = Field(default=0, ge=0)
    main_penalty: float = Field(default=2.0, gt=0)
    main_penalty_factors: tuple[float, ...] = Field(default=(0.5, 2.5, 10.0, 30.0), min_length=1)
    antibody_penalties: tuple[float, ...] = Field(default=(2.0, 8.0), min_length=1)
    gate_penalties: tuple[float, ...] = (40.0, 10.0, 3.0)
    try_no_gates: bool = True
    deviation_penalty: float = Field(default=16.0, gt=0)
    time_effect_penalty: float = Field(default=4.0, gt=0)
    baseline_smoothness: float = Field(default=1.0, ge=0)
    centre_penalty: float = Field(default=16.0, ge=0)
    masked_copy_weight: float = Field(default=0.25, ge=0)
    masked_share_weight: float = Field(default=0.1, ge=0)
    gate_groups: tuple[str, ...] = ("mda5", "ars")
    gate_covariates: tuple[str, ...] = ("ferritin", "crp", "kl6", "fvc")
    untested_mode: Literal["state", "marginal"] = "state"
    min_events_per_cause: int = Field(default=10, ge=1)
    min_events_per_interval: int = Field(default=5, ge=1)
    weak_positive_weight: float = Field(default=0.74, ge=0, le=1)
    try_residual: bool = False
    num_bootstrap: int = Field(default=200, ge=0)
    band_level: float = Field(default=0.9, gt=0, lt=1)
    num_cv_folds: int = Field(default=5, ge=2)
    max_rows_for_search: int = Field(default=4000, ge=50)
    seed: int = 0


class CohortRunSettings(Settings):
    """What every training run on a cohort declares, with a network or without."""

    format_version: Literal[1] = 1
    name: str = Field(pattern=RUN_NAME)
    seed: int = 0
    output_dir: str = "runs"
    trained_on: str = Field(min_length=3, description="shown in every output, for instance 'synthetic patients'")
    vocabularies: VocabularySettings = VocabularySettings()
    split: SplitSettings = SplitSettings()
    prognosis: PrognosisSettings = PrognosisSettings()


class TrainSettings(CohortRunSettings):
    """``train.py CONFIG``: pattern network and prognostic head from scans."""

    kind: Literal["network"] = "network"
    data: DataSettings
    preprocess: str = "small_3d"
    augment: AugmentSpec = AugmentSpec()
    network: ModelSpec
    training: TrainingSettings = TrainingSettings()


class TableSettings(Settings):
    """A cohort without scans.

    Attributes:
        cases: The case table.
        features: Stored image features: a CSV or Parquet file with ``case_id`` (or ``case_key``), ``p_nsip`` to
            ``p_other``, quantities by their names and ``embedding_<n>``; or the output folder of ``infer.py``.
            Blank: no image.
        features_out_of_fold: Whether the network behind the features never saw these patients. To be declared.
    """

    cases: str
    features: str = ""
    features_out_of_fold: bool | None = None


class HeadSettings(CohortRunSettings):
    """``train.py CONFIG`` with ``kind: head``: the prognostic head alone, from tables and stored features."""

    kind: Literal["head"]
    data: TableSettings
    split: SplitSettings = SplitSettings(num_folds=5)


class RecalibrationSettings(Settings):
    """``train.py CONFIG`` with ``kind: recalibration``: an existing model moved to a new site or era.

    Attributes:
        parent: The ``.hrct`` folder it starts from.
        recalibrated_on: Shown beside what the parent was trained on.
        method: ``intercept`` moves the level, ``slope`` also the spread, ``baseline`` each interval.
        num_folds: The table of before and after judges each patient by a recalibration that did not see them.
    """

    format_version: Literal[1] = 1
    kind: Literal["recalibration"]
    name: str = Field(pattern=RUN_NAME)
    seed: int = 0
    output_dir: str = "runs"
    parent: str
    recalibrated_on: str = Field(min_length=3)
    data: TableSettings
    method: Literal["intercept", "slope", "baseline"] = "intercept"
    num_folds: int = Field(default=5, ge=2)


class InferSettings(Settings):
    """``infer.py``: everything but the folders."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    engine: Literal["local", "ray"] = "local"
    network_process: Literal["auto", "each", "shared"] = Field(
        default="auto", description="each worker runs the network, or one process per GPU for all; auto: by the device"
    )
    num_workers: int = Field(default=0, ge=0, description="0: chosen from cores and memory")
    formats: tuple[Literal["csv", "json", "html", "parquet", "dicom"], ...] = ("csv", "json", "html", "parquet")
    study_timeout_s: float = Field(default=600.0, gt=0)
    study_memory_gib: float = Field(default=8.0, gt=0)


class EvaluateSettings(Settings):
    """``evaluate.py``."""

    endpoint: str = "course"
    num_bootstrap: int = Field(default=1000, ge=10)
    level: float = Field(default=0.95, gt=0, lt=1)
    seed: int = 0
    skip_comparators: tuple[str, ...] = Field(default=(), description="keys of comparators not to fit")
