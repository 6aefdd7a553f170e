"""One study's result as a DICOM structured report (TID 1500). Needs the ``dicom-out`` extra."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from domain.errors import InputError
from domain.patterns import PATTERNS
from domain.quantities import TABLE_QUANTITIES
from domain.records import CaseResult
from domain.whole_files import write_whole
from reports.case_view import pattern_name
from reports.dicom_identity import (
    CODING_SCHEME,
    DICOM_OUT_NEEDED,
    MANUFACTURER,
    SERIAL_NUMBER,
    SERIES_NUMBERS,
    names_unquoted,
    settle_times,
    source_headers,
    stable_uid,
)

RESEARCH_ONLY = "Research use only. Not for diagnosis."
Code = tuple[str, str, str]


def write(result: CaseResult, sources: Sequence[Path], path: Path) -> None:
    """Write pattern probabilities, quantitative CT and survival as measurements that refer to the scan.

    Args:
        result: Of a study with a pattern or a prognosis.
        sources: The DICOM files of the scan.
        path: Where to; under ``private/``, because the file names the patient.

    Raises:
        InputError: The extra is missing, there is nothing to report, or the sources are no DICOM files.
    """
    try:
        import highdicom
        from pydicom.sr.codedict import codes
    except ImportError as error:
        raise InputError(DICOM_OUT_NEEDED) from error
    values = measured_values(result)
    if not values:
        raise InputError(f"case {result.case_key} has no result that a structured report could hold")
    headers = source_headers(sources)
    first = headers[0]
    units = {"%": codes.UCUM.Percent, "1": codes.UCUM.NoUnits}
    measurements = [
        highdicom.sr.Measurement(name=_concept(highdicom, code), value=round(value, 6), unit=units[unit])
        for code, value, unit in values
    ]
    tracker = highdicom.sr.TrackingIdentifier(
        uid=stable_uid("finding", str(first.SeriesInstanceUID)), identifier="Lungs"
    )
    group = highdicom.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracker,
        finding_type=highdicom.sr.CodedConcept("233703007", "SCT", "Interstitial lung disease"),
        measurements=measurements,
        qualitative_evaluations=_evaluations(highdicom, result),
    )
    device = highdicom.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=highdicom.sr.DeviceObserverIdentifyingAttributes(
            uid=stable_uid("device", result.digests.get("model", "")), name=MANUFACTURER, manufacturer_name=MANUFACTURER
        ),
    )
    content = highdicom.sr.MeasurementReport(
        observation_context=highdicom.sr.ObservationContext(observer_device_context=device),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=[group],
        title=codes.DCM.ImagingMeasurementReport,
    )
    with names_unquoted():
        report = highdicom.sr.ComprehensiveSR(
            evidence=headers,
            content=content[0],
            series_instance_uid=stable_uid("sr-series", str(first.SeriesInstanceUID)),
            series_number=SERIES_NUMBERS["sr"],
            sop_instance_uid=stable_uid(
                "sr", str(first.SeriesInstanceUID), result.model_dump_json(exclude={"seconds"})
            ),
            instance_number=1,
            manufacturer=MANUFACTURER,
            device_serial_number=SERIAL_NUMBER,
            is_complete=True,
            is_verified=False,
            series_description=RESEARCH_ONLY,
        )
    settle_times(report, first)
    stream = BytesIO()
    report.save_as(stream, enforce_file_format=True)
    write_whole(path, stream.getvalue())


def measured_values(result: CaseResult) -> list[tuple[Code, float, str]]:
    """Everything numeric worth reporting: coded name, value, unit (``1`` or ``%``)."""
    values: list[tuple[Code, float, str]] = []
    answer = result.prediction.pattern
    for pattern in PATTERNS if answer else ():
        assert answer is not None
        code = (f"P_{pattern.upper()}", CODING_SCHEME, f"Probability of {pattern_name(pattern)}")
        values.append((code, answer.probabilities[pattern], "1"))
    for name in TABLE_QUANTITIES:
        value = result.prediction.quantitative.get(name)
        if value is not None:
            meaning = f"{name.removesuffix('_percent').replace('_', ' ')}, share of lung volume"
            values.append(((name.upper()[:16], CODING_SCHEME, meaning), value, "%"))
    for prognosis in result.prediction.prognoses[:1]:
        for risk in prognosis.horizons:
            if risk.survival is not None:
                meaning = f"At {risk.days:g} days, probability of being {prognosis.survival_means}"
                values.append(((f"SURV_{risk.days:g}D", CODING_SCHEME, meaning[:64]), risk.survival, "1"))
    return values


def _concept(highdicom: Any, code: Code) -> Any:
    value, scheme, meaning = code
    return highdicom.sr.CodedConcept(value=value, scheme_designator=scheme, meaning=meaning[:64])


def _evaluations(highdicom: Any, result: CaseResult) -> list[Any]:
    """The answer in words: the pattern or the abstention, and what the model was trained on."""
    answer = result.prediction.pattern
    said = "ABSTAINED" if answer is None or answer.abstained or answer.pattern is None else answer.pattern.upper()
    meaning = "No answer" if said == "ABSTAINED" else pattern_name(said.lower())
    pattern = highdicom.sr.QualitativeEvaluation(
        name=_concept(highdicom, ("PATTERN", CODING_SCHEME, "Image pattern (research use only)")),
        value=_concept(highdicom, (said, CODING_SCHEME, meaning)),
    )
    origin = result.trained_on or "unknown"
    training = highdicom.sr.QualitativeEvaluation(
        name=_concept(highdicom, ("TRAINED_ON", CODING_SCHEME, "Model was trained on")),
        value=_concept(highdicom, ("COHORT", CODING_SCHEME, origin)),
    )
    return [pattern, training]
