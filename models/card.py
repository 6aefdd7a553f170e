"""The model card: what the model is for, what it learnt from, how well, and where it ends. Markdown from facts."""

from __future__ import annotations

from domain.records import is_synthetic
from models.artefact_format import ArtefactManifest

TEMPLATE = """# {name}

**Research use only. Not a medical device; not for decisions about a patient.**
Trained on: **{trained_on}**{synthetic_warning}

## What it does
{purpose} {prognosis}
{parent}{network}
## Training cohort
{num_patients} patients, {num_scans} scans, {num_labelled} labelled, {sites} site(s).
{patterns}

## Out-of-fold results
Each case judged by a model that was not trained on its patient. Internal figures; an outside cohort will be worse.

{results}
{belief}
## Limits
- {limit}an unknown antibody is refused by name.
- Scanners, protocols and populations unlike the cohort's may be wrong without being noticed.
{closing}"""

READS_SCANS = """Labels one HRCT of a person with myositis-associated interstitial lung disease as NSIP, OP, mixed or
other, with calibrated probabilities, a prediction set, an out-of-distribution score and an evidence map. It may
abstain. Antibodies never enter the pattern."""
READS_TABLES = """A prognostic head alone: it answers from a case table (and stored image features, where it learnt from
them). It reads no scan."""
MIXED_LIMIT = """- "Mixed" means that both components are present; no percentage is standardised between centres.
"""

NETWORK = """
## Network
| | |
|---|---|
| backbone | {backbone} |
| quantitative CT | {quantitative} |
| members | {num_members} |
| preprocessing | {preprocess} (digest {preprocess_digest}) |
| written by | {versions} |
| licence | {licence} |
"""

BELIEF = """
## Belief
Temperature {temperature:.2f}. Prediction sets hold the true pattern in {level:.0%} of scans of each class (nominal).
Classes with fewer than {needed:.0f} scans are always in the set. It answers from a confidence of {min_confidence:.2f};
out of distribution above {ood_threshold:.2f}.

| answers when confidence is at least | share answered | accuracy among them |
|---|---|---|
{curve}
"""


def write_card(manifest: ArtefactManifest, num_members: int) -> str:
    """The card of an artefact."""
    has_network = manifest.model is not None
    return TEMPLATE.format(
        name=manifest.name,
        trained_on=manifest.trained_on,
        synthetic_warning=" - figures below say nothing about patients." if is_synthetic(manifest.trained_on) else ".",
        purpose=READS_SCANS if has_network else READS_TABLES,
        prognosis=(
            f"Prognosis for: {', '.join(manifest.prognosis)}." if manifest.prognosis else "It gives no prognosis."
        ),
        parent=_parent(manifest),
        network=_network(manifest, num_members),
        num_patients=manifest.cohort.num_patients,
        num_scans=manifest.cohort.num_scans,
        num_labelled=manifest.cohort.num_labelled,
        sites=manifest.cohort.sites,
        patterns=", ".join(f"{key} {value:g}" for key, value in manifest.cohort.patterns.items()),
        results=_table(manifest.results) if manifest.results else "None recorded.",
        belief=_belief(manifest),
        limit="Patterns and antibodies it was not trained on are not in its answers; " * has_network,
        closing=MIXED_LIMIT * has_network,
    )


def _parent(manifest: ArtefactManifest) -> str:
    if not manifest.parent:
        return ""
    return (
        f"\nRecalibrated from the model with digest `{manifest.parent}`: its levels of risk were moved, its effects "
        "were not. Cohort and results below are those of that model.\n"
    )


def _network(manifest: ArtefactManifest, num_members: int) -> str:
    versions = ", ".join(f"{key} {value}" for key, value in sorted(manifest.library_versions.items()))
    if manifest.model is None or manifest.preprocess is None:
        return f"\nWritten by {versions}. Licence: {manifest.licence}.\n"
    params = ", ".join(f"{key} {value}" for key, value in sorted(manifest.model.backbone.params.items()))
    return NETWORK.format(
        backbone=f"{manifest.model.backbone.name} v{manifest.model.backbone.version}{f' ({params})' if params else ''}",
        quantitative="used" if manifest.model.use_quantitative else "not used",
        num_members=num_members,
        preprocess=manifest.preprocess.name,
        preprocess_digest=manifest.preprocess.digest,
        versions=versions,
        licence=manifest.licence,
    )


def _belief(manifest: ArtefactManifest) -> str:
    belief = manifest.belief
    if not belief:
        return ""
    level = float(belief["conformal"]["level"])
    return BELIEF.format(
        temperature=float(belief["calibrator"]["temperature"]),
        level=level,
        needed=level / (1 - level),
        min_confidence=float(belief["abstention"]["min_confidence"]),
        ood_threshold=float(belief["out_of_distribution"]["threshold"]),
        curve="\n".join(f"| {c:.2f} | {s:.0%} | {a:.0%} |" for c, s, a in belief["abstention"]["curve"]),
    )


def _table(rows: dict[str, object]) -> str:
    lines = ["| measure | value |", "|---|---|"]
    for key, value in rows.items():
        lines.append(f"| {key} | {value:.3f} |" if isinstance(value, float) else f"| {key} | {value} |")
    return "\n".join(lines)
