"""Myositis antibodies: the vocabulary, and a result with three states. Not tested is never negative."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field, model_validator

from domain.config_files import resolve_config
from domain.specs import Settings
from domain.strict_yaml import load_settings


class AntibodyStatus(StrEnum):
    """What the laboratory said. A blank cell is ``not_tested``."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    NOT_TESTED = "not_tested"


class AntibodyGroup(StrEnum):
    """Groups whose members share an effect in the prognostic head."""

    MDA5 = "mda5"
    ARS = "ars"
    OTHER_MSA = "other_msa"
    MAA = "maa"


class AntibodyRole(StrEnum):
    """A class (specific or associated antibody), or a modifier beside a class (Ro52)."""

    MSA = "msa"
    MAA = "maa"
    MODIFIER = "modifier"


# Code of each state in arrays (int8): not tested is a state of its own, not a zero.
STATUS_CODES: dict[AntibodyStatus, int] = {
    AntibodyStatus.NEGATIVE: 0,
    AntibodyStatus.POSITIVE: 1,
    AntibodyStatus.NOT_TESTED: -1,
}


@dataclass(frozen=True, slots=True)
class AntibodyResult:
    """One antibody of one patient.

    Attributes:
        status: Positive, negative or not tested.
        grade: Line-blot grade, 0 negative, 1 ``(+)``, 2 ``+``, 3 ``++``, 4 ``+++``; None where none is given.
        assay: Name of the assay, where given.
    """

    status: AntibodyStatus = AntibodyStatus.NOT_TESTED
    grade: int | None = None
    assay: str | None = None


GRADES: dict[str, int] = {"-": 0, "negative": 0, "(+)": 1, "weak": 1, "+": 2, "++": 3, "+++": 4, "strong": 4}


class AntibodyEntry(Settings):
    """One antibody of the vocabulary; its column in a case table is ``ab_<key>``."""

    key: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    name: str
    aliases: tuple[str, ...] = ()
    group: AntibodyGroup
    role: AntibodyRole
    usually_missing_from_line_blot: bool = False
    note: str = ""
    source: str

    @property
    def column(self) -> str:
        """Column of the case table."""
        return f"ab_{self.key}"


class AntibodyVocabulary(Settings):
    """All antibodies, in the order of every array. It only grows at the end."""

    format_version: int = 1
    antibodies: tuple[AntibodyEntry, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique(self) -> AntibodyVocabulary:
        seen: set[str] = set()
        for entry in self.antibodies:
            for name in {entry.key, *(alias.casefold() for alias in entry.aliases)}:
                if name in seen:
                    raise ValueError(f"{name!r} names two antibodies")
                seen.add(name)
        return self

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys in order."""
        return tuple(entry.key for entry in self.antibodies)

    @property
    def group_names(self) -> tuple[str, ...]:
        """Group of each key; a modifier (Ro52) is a group of its own."""
        return tuple(
            entry.key if entry.role is AntibodyRole.MODIFIER else entry.group.value for entry in self.antibodies
        )

    def find(self, name: str) -> AntibodyEntry | None:
        """The entry of a key or alias, whatever its case."""
        wanted = name.strip().casefold()
        for entry in self.antibodies:
            if wanted in {entry.key, *(alias.casefold() for alias in entry.aliases)}:
                return entry
        return None


def load_antibody_vocabulary(name_or_path: str = "antibodies") -> AntibodyVocabulary:
    """The shipped antibody vocabulary, or a cohort's own YAML file."""
    return load_settings(AntibodyVocabulary, resolve_config(name_or_path, "vocabularies"))
