"""One antibody class per case, for subgroups and for the simplest comparator. Not tested is a class of its own."""

from __future__ import annotations

from collections.abc import Mapping

from domain.antibodies import AntibodyGroup, AntibodyResult, AntibodyRole, AntibodyStatus, AntibodyVocabulary

NOT_TESTED = "not_tested"
INCOMPLETE = "incomplete_panel"
NEGATIVE = "negative"
CLASS_ORDER: tuple[str, ...] = (*(group.value for group in AntibodyGroup), NEGATIVE, INCOMPLETE, NOT_TESTED)


def antibody_class(results: Mapping[str, AntibodyResult], vocabulary: AntibodyVocabulary) -> str:
    """The class a clinician would name.

    Args:
        results: Key -> result of one case; a missing key is not tested.
        vocabulary: Groups and roles of the keys.

    Returns:
        The first positive group in the order MDA5, ARS, other specific, associated; ``negative`` when both MDA5 and
        at least one ARS were tested and nothing is positive; ``not_tested`` when nothing of the panel was;
        ``incomplete_panel`` otherwise. A modifier (Ro52) never makes a class.
    """
    panel = [entry for entry in vocabulary.antibodies if entry.role is not AntibodyRole.MODIFIER]
    status = {entry.key: results.get(entry.key, AntibodyResult()).status for entry in panel}
    for group in AntibodyGroup:
        if any(status[entry.key] is AntibodyStatus.POSITIVE for entry in panel if entry.group is group):
            return group.value
    tested = {entry.group for entry in panel if status[entry.key] is not AntibodyStatus.NOT_TESTED}
    if not tested:
        return NOT_TESTED
    return NEGATIVE if {AntibodyGroup.MDA5, AntibodyGroup.ARS} <= tested else INCOMPLETE
