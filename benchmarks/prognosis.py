"""Every required line of the prognostic head on cohorts with a known truth: ``python benchmarks/prognosis.py``.

Writes tables of measured beside required to docs/benchmarks/prognosis.md. Sections can be run alone:
``python benchmarks/prognosis.py --sections coverage time``. Needs the extra ``eval`` (scikit-survival).
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from prognosis_generator import Cohort, Variant, deploy, draw, endpoint_of  # noqa: E402
from prognosis_phantoms import phantom_rows  # noqa: E402
from prognosis_real_data import real_data_rows  # noqa: E402
from prognosis_scores import SCORE_DAYS, aalen_johansen_by_class, cox_main, ibs, uno_c  # noqa: E402

from domain.settings import PrognosisSettings  # noqa: E402
from models.prognosis import PrognosticModel  # noqa: E402

FloatArray = NDArray[np.float64]

FIRST_SEED = 200  # training sets 200, 201, ...: none of them was looked at while the head was designed (300 and up)
TEST_SIZE = 2000
LIGHT_RIDGE = 0.1  # a Cox model as it is usually fitted; "Cox main" has the ridge that suits it best
WHOLE_EMBEDDING = 16  # its components; "Cox main" sees the four that the head sees
YEAR = np.array([365.25])
PAGE = ROOT / "docs" / "benchmarks" / "prognosis.md"
NUM_WORKERS = int(os.environ.get("BENCHMARK_WORKERS", "1"))


class Line(NamedTuple):
    """One row of the table."""

    variant: str
    num_patients: int
    quantity: str
    measured: str
    required: str
    verdict: str  # met | not met | (nothing required)


def verdict(*, met: bool) -> str:
    """Word of the last column."""
    return "met" if met else "**not met**"


@dataclass(frozen=True)
class Job:
    """One repetition."""

    variant: Variant
    num_patients: int
    seed: int
    settings: PrognosisSettings


def quick(**changes: object) -> PrognosisSettings:
    """Default settings without the bootstrap."""
    return PrognosisSettings.model_validate({"num_bootstrap": 0, "num_embedding_components": 4} | changes, strict=False)


def seeds(count: int) -> range:
    """Seeds of some training sets."""
    return range(FIRST_SEED, FIRST_SEED + count)


def repeat(measure: Callable[[Job], Sequence[float]], jobs: Sequence[Job]) -> FloatArray:
    """One row of numbers per job. Shape (jobs, numbers)."""
    if NUM_WORKERS == 1:
        return np.array([measure(job) for job in jobs])
    with ProcessPoolExecutor(NUM_WORKERS) as pool:
        return np.array(list(pool.map(measure, jobs)))


def fitted(job: Job) -> tuple[Cohort, Cohort, PrognosticModel]:
    """Training cohort, test cohort (same centres' spread, other patients), fitted head."""
    train = draw(job.num_patients, job.seed, job.variant)
    test = draw(TEST_SIZE, 10_000 + job.seed, job.variant)
    return train, test, PrognosticModel.fit(train.data, job.settings, endpoint_of(job.variant))


def head_survival(model: PrognosticModel, cohort: Cohort) -> FloatArray:
    """Survival on ``SCORE_DAYS``; days a small cohort does not support repeat the last supported one."""
    days = np.minimum(SCORE_DAYS, model.state.grid.supported_days)
    return model.survival(cohort.data, days)


# ------------------------------------------------------------------------------------------------ discrimination


def measure_discrimination(job: Job) -> list[float]:
    train, test, model = fitted(job)
    head, oracle = head_survival(model, test), test.true_survival(SCORE_DAYS)
    main = cox_main(train.data)(test.data, SCORE_DAYS)
    curves = (head, main, oracle)
    scores = [uno_c(train.data, test.data, c) for c in curves] + [ibs(train.data, test.data, c) for c in curves]
    for components in (4, WHOLE_EMBEDDING):
        light = cox_main(train.data, components, LIGHT_RIDGE)(test.data, SCORE_DAYS)
        scores.append(uno_c(train.data, test.data, light))
    return scores


def discrimination(scale: float) -> list[Line]:
    lines = []
    for num_patients, sets, needed in ((100, 100, 0.30), (300, 12, 0.45), (1000, 10, 0.60)):
        for name, variant in (("proportional", Variant()), ("no interaction", Variant(interactions=False))):
            jobs = [Job(variant, num_patients, s, quick()) for s in seeds(max(2, round(sets * scale)))]
            figures = repeat(measure_discrimination, jobs)
            c_head, c_main, c_oracle, b_head, b_main, b_oracle, c_light, c_whole = figures.mean(axis=0)
            shown = f"{c_head:.3f} (Cox main {c_main:.3f}, truth {c_oracle:.3f})"
            lines.append(Line(name, num_patients, f"Uno C to 3 years, mean of {len(jobs)} sets", shown, "", ""))
            if name == "proportional":
                error = (figures[:, 0] - figures[:, 1]).std(ddof=1) / np.sqrt(len(jobs)) / (c_oracle - c_main)
                for what, c_cox, note in (
                    ("gap closed", c_main, f" (standard error {error:.2f})"),
                    (f"the same, Cox with ridge {LIGHT_RIDGE} (C {c_light:.3f})", c_light, ""),
                    (f"the same, Cox on the whole embedding, ridge {LIGHT_RIDGE} (C {c_whole:.3f})", c_whole, ""),
                ):
                    gap = (c_head - c_cox) / (c_oracle - c_cox)
                    met = verdict(met=gap >= needed)
                    lines.append(Line(name, num_patients, what, f"{gap:.2f}{note}", f">= {needed:.2f}", met))
                shown = f"{b_head:.4f} (truth {b_oracle:.4f})"
                met = verdict(met=b_head < b_main)
                lines.append(Line(name, num_patients, "IBS", shown, f"< Cox main {b_main:.4f}", met))
            else:
                loss = c_head - c_main
                met = verdict(met=loss >= -0.01)
                lines.append(Line(name, num_patients, "C minus Cox main", f"{loss:+.4f}", ">= -0.010", met))
    return lines


# ---------------------------------------------------------------------------------------- non-proportional hazards


def measure_early_bias(job: Job) -> list[float]:
    train, test, model = fitted(job)
    days = np.array([90.0])
    truth = test.true_survival(days)[test.is_mda5].mean()
    head = model.survival(test.data, days)[test.is_mda5].mean() - truth
    main = cox_main(train.data)(test.data, days)[test.is_mda5].mean() - truth
    return [head, main, uno_c(train.data, test.data, head_survival(model, test))]


def non_proportional(scale: float) -> list[Line]:
    lines = []
    for num_patients, sets, limit in ((100, 12, 0.10), (300, 12, 0.06), (1000, 10, 0.04)):
        variant = Variant(proportional=False)
        jobs = [Job(variant, num_patients, s, quick()) for s in seeds(max(2, round(sets * scale)))]
        head, main, c = repeat(measure_early_bias, jobs).mean(axis=0)
        shown = f"{head:+.3f} (Cox main {main:+.3f}; C {c:.3f})"
        met = verdict(met=abs(head) <= limit)
        lines.append(
            Line("non-proportional", num_patients, "bias of 90-day survival, MDA5", shown, f"within +-{limit:.2f}", met)
        )
    return lines


# ------------------------------------------------------------------------------------------------------ untested


def untested_biases(model: PrognosticModel, test: Cohort) -> list[float]:
    """C-ready bias figures of 1-year risk: untested, untested MDA5, tested; and mean |S(unknown) - S(negative)|."""
    assert test.data.antibodies is not None
    untested = (test.data.antibodies == -1).all(axis=1)
    excess = test.true_survival(YEAR)[:, 0] - model.survival(test.data, YEAR)[:, 0]  # risk given minus true risk
    unknown = test.data.replaced(antibodies=np.full_like(test.data.antibodies, -1))
    negative = test.data.replaced(antibodies=np.zeros_like(test.data.antibodies))
    apart = np.abs(model.survival(unknown, YEAR) - model.survival(negative, YEAR)).mean()
    return [
        float(excess[untested].mean()),
        float(excess[untested & test.is_mda5].mean()),
        float(excess[~untested].mean()),
        float(apart),
    ]


def measure_untested(job: Job) -> list[float]:
    train, test, model = fitted(job)
    if not job.variant.untested or job.variant.informative_testing:  # trained otherwise, used with half untested
        test = deploy(draw(TEST_SIZE, 10_000 + job.seed, Variant()), 0.5, job.seed)
    c = uno_c(train.data, test.data, head_survival(model, test))
    return [c, *untested_biases(model, test)]


def untested(scale: float) -> list[Line]:
    lines: list[Line] = []
    plans = (
        ("half untested", Variant(untested=0.5), "state"),
        ("deployment shift", Variant(), "state"),
        ("deployment shift", Variant(), "marginal"),
        ("informative testing", Variant(informative_testing=True), "state"),
        ("informative testing", Variant(informative_testing=True), "marginal"),
    )
    for name, variant, mode in plans:
        jobs = [Job(variant, 1000, s, quick(untested_mode=mode)) for s in seeds(max(2, round(10 * scale)))]
        c, bias, bias_mda5, bias_tested, apart = repeat(measure_untested, jobs).mean(axis=0)
        is_required = name != "informative testing"
        where = f"{name}, mode {mode}"
        c_word, b_word = ("0.69", "0.03") if is_required else ("", "")
        lines.append(
            Line(where, 1000, "Uno C", f"{c:.3f}", c_word and f">= {c_word}", c_word and verdict(met=c >= 0.69))
        )
        met = b_word and verdict(met=abs(bias) <= 0.03)
        lines.append(
            Line(where, 1000, "bias of 1-year risk, untested", f"{bias:+.3f}", b_word and f"within +-{b_word}", met)
        )
        shown = f"{bias_mda5:+.3f}; tested {bias_tested:+.3f}"
        lines.append(Line(where, 1000, "the same, untested MDA5; and tested patients", shown, "", ""))
        if mode == "state":
            met = verdict(met=apart >= 0.02) if is_required else ""
            lines.append(
                Line(where, 1000, "mean S(unknown) against S(negative)", f"{apart:.3f}", is_required * ">= 0.02", met)
            )
    return lines


# ------------------------------------------------------------------------------------------------------ coverage


def measure_coverage(job: Job) -> list[float]:
    _, test, model = fitted(job)
    few = test.data.take(np.arange(400))
    low, high = model.interval(few, YEAR, 0.9)
    truth = test.true_survival(YEAR)[:400]
    return [float(((low <= truth) & (truth <= high)).mean()), float((high - low).mean())]


def coverage(scale: float) -> list[Line]:
    lines, widths = [], []
    settings = quick(num_bootstrap=200)
    for num_patients, sets in ((100, 12), (300, 10), (1000, 8)):
        jobs = [Job(Variant(), num_patients, s, settings) for s in seeds(max(2, round(sets * scale)))]
        covered, width = repeat(measure_coverage, jobs).mean(axis=0)
        widths.append(width)
        shown = f"{covered:.2f} (width {width:.3f})"
        met = verdict(met=covered >= 0.70)
        lines.append(
            Line("proportional", num_patients, "coverage of nominal 90 % bands, S(1 y)", shown, ">= 0.70", met)
        )
    falls = widths[0] > widths[1] > widths[2]
    lines.append(Line("proportional", 1000, "band width falls with n", str(falls), "yes", verdict(met=falls)))
    return lines


# ----------------------------------------------------------------------------------------------- competing risks


def measure_competing(job: Job) -> list[float]:
    train, test, model = fitted(job)
    main_settings = quick(gate_penalties=[], try_no_gates=True, gate_groups=[])
    main = PrognosticModel.fit(train.data, main_settings, endpoint_of(job.variant))
    truth = test.true_incidence(YEAR)[:, :, 0]
    by_class = aalen_johansen_by_class(train, test, YEAR, 3)[:, :, 0]
    rmse = []
    for guess in (_incidence(model, test), _incidence(main, test), by_class):
        rmse += np.sqrt(((guess - truth) ** 2).mean(axis=0))[:2].tolist()
    survival, incidence = model.survival(test.data, SCORE_DAYS), model.cumulative_incidence(test.data, SCORE_DAYS)
    gap = np.nanmax(np.abs(survival + sum(incidence.values()) - 1.0))
    return [*rmse, float(gap)]


def _incidence(model: PrognosticModel, test: Cohort) -> FloatArray:
    return np.column_stack([values[:, 0] for values in model.cumulative_incidence(test.data, YEAR).values()])


def competing(scale: float) -> list[Line]:
    lines = []
    for num_patients, sets in ((100, 10), (300, 10), (1000, 8)):
        jobs = [Job(Variant(competing=True), num_patients, s, quick()) for s in seeds(max(2, round(sets * scale)))]
        figures = repeat(measure_competing, jobs)
        mean = figures.mean(axis=0)
        for index, cause in enumerate(("progression", "death")):
            head, main, by_class = mean[[index, 2 + index, 4 + index]]
            shown = f"{head:.3f} (main effects {main:.3f}, Aalen-Johansen by class {by_class:.3f})"
            required, met = (
                ("< Aalen-Johansen", head < by_class) if num_patients == 100 else ("< main effects", head < main)
            )
            what = f"RMSE of 1-year incidence, {cause}"
            lines.append(Line("competing risks", num_patients, what, shown, required, verdict(met=bool(met))))
        worst = figures[:, -1].max()
        met = verdict(met=worst < 1e-9)
        lines.append(
            Line(
                "competing risks",
                num_patients,
                "largest deviation of S + sum of CIF from 1",
                f"{worst:.0e}",
                "< 1e-9",
                met,
            )
        )
    return lines


# -------------------------------------------------------------------------------------- shift, permuted, run time


def measure_shift(job: Job) -> list[float]:
    train, _, model = fitted(job)
    shifted = draw(TEST_SIZE, 10_000 + job.seed, Variant(centre_shift=0.5))
    update = draw(200, 10_000 + job.seed, Variant(centre_shift=0.5))  # the same new hospitals, other patients
    recalibrated = model.recalibrated(update.data, "intercept")
    truth = shifted.true_survival(YEAR).mean()
    before = truth - model.survival(shifted.data, YEAR).mean()
    after = truth - recalibrated.survival(shifted.data, YEAR).mean()
    return [uno_c(train.data, shifted.data, head_survival(model, shifted)), before, after]


def measure_permuted(job: Job) -> list[float]:
    train, test, model = fitted(job)
    assert test.data.cause is not None
    return [uno_c(train.data, test.data, head_survival(model, test)), float(model.survival(test.data, YEAR).std())]


def shift_and_permuted(scale: float) -> list[Line]:
    sets = max(2, round(8 * scale))
    c, before, after = repeat(measure_shift, [Job(Variant(), 1000, s, quick()) for s in seeds(sets)]).mean(axis=0)
    permuted = [Job(Variant(permuted=True), 300, s, quick()) for s in seeds(sets)]
    c_null, spread = repeat(measure_permuted, permuted).mean(axis=0)
    shown = f"{before:+.3f} before, {after:+.3f} after recalibration on 200 patients (C {c:.3f})"
    return [
        Line("centre shift (log hazard +0.5)", 1000, "bias of 1-year risk", shown, "", ""),
        Line("permuted outcome", 300, "Uno C", f"{c_null:.3f}", "0.47 to 0.53", verdict(met=abs(c_null - 0.5) <= 0.03)),
        Line("permuted outcome", 300, "SD of predicted 1-year survival", f"{spread:.3f}", "", ""),
    ]


# --------------------------------------------------------------------------- neural correction, event-time intervals


def measure_residual(job: Job) -> list[float]:
    train, test, model = fitted(job)
    plain = PrognosticModel.fit(train.data, quick(), endpoint_of(job.variant))
    scores = [uno_c(train.data, test.data, head_survival(m, test)) for m in (plain, model)]
    scores += [ibs(train.data, test.data, head_survival(m, test)) for m in (plain, model)]
    return [*scores, float(model.state.residual is not None)]


def residual(scale: float) -> list[Line]:
    lines = []
    plans = (
        ("curved effects", Variant(nonlinear=True), 1000, "every set"),
        ("curved effects", Variant(nonlinear=True), 300, ""),
        ("proportional", Variant(), 1000, "no set"),
        ("proportional", Variant(), 300, "no set"),
        ("no interaction", Variant(interactions=False), 300, "no set"),
        ("permuted outcome", Variant(permuted=True), 300, "no set"),
    )
    for name, variant, num_patients, needed in plans:
        count = max(2, round(8 * scale))
        jobs = [Job(variant, num_patients, s, quick(try_residual=True)) for s in seeds(count)]
        figures = repeat(measure_residual, jobs)
        c_plain, c_tried, b_plain, b_tried, share = figures.mean(axis=0)
        chosen = round(share * count)
        met = needed and verdict(met=chosen == (count if needed == "every set" else 0))
        lines.append(Line(name, num_patients, "neural correction chosen", f"{chosen} of {count} sets", needed, met))
        shown = f"C {c_plain:.3f} to {c_tried:.3f}, IBS {b_plain:.4f} to {b_tried:.4f}"
        lines.append(Line(name, num_patients, "core alone, with what was chosen", shown, "", ""))
    return lines


def measure_event_time(job: Job) -> list[float]:
    """True shares of events before, inside and after the intervals; calibrated on as many other patients."""
    _, test, model = fitted(job)
    calibrated = model.with_conformal(draw(job.num_patients, 20_000 + job.seed, job.variant).data, 0.9)
    assert calibrated.conformal is not None
    stratum = calibrated.conformal.strata[0]
    assert stratum.lower_risk is not None
    days = np.linspace(0.0, model.state.grid.supported_days, 700)
    risk, truth = 1.0 - model.survival(test.data, days), 1.0 - test.true_survival(days)
    rows = np.arange(len(truth))
    before = truth[rows, np.maximum((risk < stratum.lower_risk).sum(axis=1) - 1, 0)].mean()
    after = 0.0
    if stratum.upper_risk is not None:
        end = (risk < stratum.upper_risk).sum(axis=1)
        inside = end < len(days)
        after = np.where(inside, 1.0 - truth[rows, np.minimum(end, len(days) - 1)], 0.0).mean()
    return [float(before), float(1.0 - before - after), stratum.measured or np.nan]


def event_time(scale: float) -> list[Line]:
    lines = []
    for name, variant in (("proportional", Variant()), ("non-proportional", Variant(proportional=False))):
        for num_patients in (150, 300, 1000):
            jobs = [Job(variant, num_patients, s, quick()) for s in seeds(max(2, round(8 * scale)))]
            before, inside, measured = np.nanmean(repeat(measure_event_time, jobs), axis=0)
            shown = f"{before:.3f} before the interval begins; {inside:.3f} inside (own measure {measured:.3f})"
            what = "true share of events, nominal 90 % interval"
            met = verdict(met=bool(before <= 0.07))
            lines.append(Line(name, num_patients, what, shown, "before <= 0.05 + 0.02", met))
    return lines


def run_time(scale: float) -> list[Line]:
    del scale
    lines = []
    for num_patients, limit, repeats in ((1000, 20.0, 5), (100_000, 300.0, 1)):
        variant = Variant(competing=True)
        cohort = draw(num_patients, 1, variant)
        seconds = []
        for _ in range(repeats):
            started = time.process_time()  # of this one-threaded process: wall time on a shared machine says little
            PrognosticModel.fit(cohort.data, quick(num_bootstrap=200), endpoint_of(variant))
            seconds.append(time.process_time() - started)
        middle = float(np.median(seconds))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        shown = f"{middle:.1f} s of CPU (median of {repeats}), peak memory {peak:.1f} GiB"
        what = "fit, 3 causes, search and 200 replicates, one core"
        lines.append(
            Line("competing risks", num_patients, what, shown, f"< {limit:.0f} s", verdict(met=middle < limit))
        )
    return lines


SECTIONS: dict[str, Callable[[float], list[Line]]] = {
    "discrimination": discrimination,
    "non_proportional": non_proportional,
    "untested": untested,
    "coverage": coverage,
    "competing": competing,
    "residual": residual,
    "event_time": event_time,
    "shift": shift_and_permuted,
    "time": run_time,
    "phantoms": lambda scale: [Line(*row) for row in phantom_rows(scale)],
    "real": lambda scale: [Line(*row) for row in real_data_rows(scale)],
}


def table(lines: Sequence[Line]) -> str:
    """Markdown table."""
    rows = [f"| {' | '.join(str(cell) for cell in line)} |" for line in lines]
    return "\n".join(["| cohort | n | quantity | measured | required | |", "|---|---|---|---|---|---|", *rows])


HEAD = f"""# Prognostic head: measured beside required

All cohorts but those of "public data" are **synthetic**: drawn from `benchmarks/prognosis_generator.py` or from the
phantom patients, whose truth is known. Nothing here is a clinical result. Scores and comparators come from
scikit-survival and lifelines. Made by `python benchmarks/prognosis.py` (`--sections NAME` repeats one part); test
sets of {TEST_SIZE} patients, means over training sets with seeds {FIRST_SEED}, {FIRST_SEED + 1}, ...; hospitals of the
test sets are not those of training.

Priors, weights and borrowing of the head were designed on sets with seeds 300 and up. The comparator "Cox main" has the
ridge (10) that suits it best on these cohorts and sees the same four components of the embedding as the head; two lines
below it repeat the gap for a Cox model with a ridge of {LIGHT_RIDGE}, on these components and on all {WHOLE_EMBEDDING}.

At n = 100 the line is not met against either Cox model on four components. With one fixed strength for all sets,
chosen with the answer in sight, the gap is 0.32 at most (60 sets with seeds 300 and up) and the cohort without
interaction loses 0.012: about fifty events do not tell the two cohorts apart. The protocol that set the line reports
a Cox model 0.092 below the truth at this size; the one here is 0.067 below it, on the same generator by its
description, so the line is harder.
"""


def written_sections() -> dict[str, str]:
    """Sections of the page as it is, by name."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    parts = text.split("\n## ")[1:]
    return {part.partition("\n")[0].strip(): part.partition("\n")[2].strip() for part in parts}


def write_page(sections: dict[str, str]) -> None:
    """The page with its sections in the order of ``SECTIONS``."""
    body = "\n".join(f"\n## {name}\n\n{sections[name]}" for name in SECTIONS if name in sections)
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(f"{HEAD}{body}\n", encoding="utf-8")


def main() -> None:
    """Run sections and write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--scale", type=float, default=1.0, help="share of the repetitions, for a quick look")
    parser.add_argument("--no-write", action="store_true", help="print only")
    options = parser.parse_args()
    for name in options.sections:
        started = time.perf_counter()
        part = table(SECTIONS[name](options.scale))
        took = f"{time.perf_counter() - started:.0f} s on {platform.machine()} with {os.cpu_count()} cores, shared"
        share = "" if options.scale == 1 else f"; {options.scale:g} of the usual repetitions"
        print(f"\n{name}\n{part}", flush=True)
        if not options.no_write:
            write_page(written_sections() | {name: f"{part}\n\nTook {took}{share}."})


if __name__ == "__main__":
    main()
