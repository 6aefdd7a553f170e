"""What a disease is: the plan of one scan's findings. Where they are painted is in ``disease``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from data_pipeline.phantoms.disease_settings import load_disease_settings
from domain.patterns import Pattern


class OtherKind(StrEnum):
    """What an ``other`` pattern is."""

    UIP = "uip"
    DIFFUSE_DAMAGE = "diffuse_damage"
    INFECTION = "infection"
    EMPHYSEMA = "emphysema"
    NORMAL = "normal"


class EmphysemaKind(StrEnum):
    """Which part of the lobules emphysema destroys."""

    CENTRILOBULAR = "centrilobular"
    PANLOBULAR = "panlobular"
    PARASEPTAL = "paraseptal"


@dataclass(frozen=True, slots=True)
class DiseasePlan:
    """The disease of one scan. Extents are shares of lung volume, 0..1.

    Attributes:
        pattern: True pattern.
        other_kind: Kind of ``other``; None for the rest.
        ground_glass: Extent of the basal or diffuse ground glass (NSIP component, diffuse damage).
        reticulation: Extent of reticulation inside and around it.
        consolidation: Extent of organizing or infectious consolidation.
        num_foci: Number of patches that make up the consolidation.
        has_sparing: Immediate subpleural sparing.
        traction: Widening factor of airways inside fibrosis, 1 for none.
        perilobular: Share of the patches that are perilobular arcs.
        reversed_halo: Share of the patches that are rings.
        halo: Width of the ground glass around patches, mm.
        peribronchovascular: Share of the patches that lie along the bronchi; the others are peripheral.
        hazy: Share of the remaining patches that are ground glass throughout.
        basal: Craniocaudal preference, 0 none to 1 strong.
        honeycombing: Extent of honeycombing.
        emphysema: Extent of emphysema.
        ground_glass_hu: Density added by ground glass.
        symmetry: 1 the same on both sides, 0 one side only.
        geographic: How much the borders of ground glass follow the lobules, 0..0.7.
        mesh_mm: Size of the cells of reticulation.
        cyst_mm: Size of the larger honeycomb cells, walls included.
        emphysema_kind: Which part of the lobules is destroyed.
        air_trapping: Extent of air trapping (mosaic attenuation).
        effusion_mm: Depth of pleural fluid at the base, 0 for none; (right, left).
        pneumothorax_mm: Depth of pleural gas at the uppermost place, 0 for none; on the right if positive, left if not.
        has_pneumomediastinum: Gas between heart, vessels and airways.
    """

    pattern: Pattern
    other_kind: OtherKind | None = None
    ground_glass: float = 0.0
    reticulation: float = 0.0
    consolidation: float = 0.0
    num_foci: int = 0
    has_sparing: bool = False
    traction: float = 1.0
    perilobular: float = 0.0
    reversed_halo: float = 0.0
    halo: float = 4.0
    peribronchovascular: float = 0.3
    hazy: float = 0.0
    basal: float = 0.7
    honeycombing: float = 0.0
    emphysema: float = 0.0
    ground_glass_hu: float = 240.0
    symmetry: float = 0.9
    geographic: float = 0.3
    mesh_mm: float = 5.0
    cyst_mm: float = 10.0
    emphysema_kind: EmphysemaKind = EmphysemaKind.CENTRILOBULAR
    air_trapping: float = 0.0
    effusion_mm: tuple[float, float] = (0.0, 0.0)
    pneumothorax_mm: float = 0.0
    has_pneumomediastinum: bool = False

    @property
    def volume_loss(self) -> float:
        """Share of lung height lost to fibrosis."""
        loss = load_disease_settings().volume_loss
        return min(loss.most, (self.reticulation + self.honeycombing) / loss.fibrosis_over_loss)
