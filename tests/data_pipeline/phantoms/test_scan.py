"""What is planted in the images can be measured back from them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from data_pipeline.phantoms.acquisition import AcquisitionPlan, draw_acquisition, load_acquisition_settings
from data_pipeline.phantoms.disease_types import DiseasePlan, EmphysemaKind, OtherKind
from data_pipeline.phantoms.habitus import Habitus, draw_habitus
from data_pipeline.phantoms.physics import textured_noise
from data_pipeline.phantoms.randomness import Stream, stream
from data_pipeline.phantoms.scan import Later, Scan, make_scan
from domain.patterns import Pattern

NORMAL = DiseasePlan(Pattern.OTHER, OtherKind.NORMAL)
NSIP = DiseasePlan(Pattern.NSIP, ground_glass=0.30, reticulation=0.12, traction=1.5)
OP = DiseasePlan(Pattern.OP, consolidation=0.12, num_foci=8, basal=0.3, peribronchovascular=0.0)


def body(seed: int = 2, **changes: object) -> Habitus:
    habitus = draw_habitus(stream(seed, 0, Stream.ANATOMY), is_female=False, age_years=55)
    return replace(habitus, **changes)


def quiet(**changes: object) -> AcquisitionPlan:
    plan = draw_acquisition(stream(2, 0, Stream.ACQUISITION), "tiny", 360)
    return replace(plan, noise_hu=0.0, motion_mm=0.0, **changes)


@lru_cache(maxsize=16)
def scan_of(disease: DiseasePlan, **changes: object) -> Scan:
    return make_scan(2, 0, body(), disease, quiet(**changes))


def test_tissues_have_their_hounsfield_units() -> None:
    scan = scan_of(NORMAL)
    lungs = ndimage.binary_erosion(scan.lungs > 0, iterations=2)
    assert -900 < np.median(scan.hu[lungs]) < -800
    assert scan.hu[:, 0, 0].max() < -950
    inside = scan.hu[(scan.hu > -200) & (scan.hu < 200)]
    values, counts = np.unique(np.round(inside / 10), return_counts=True)
    peaks = values[counts > np.roll(counts, 1)] * 10
    assert any(abs(peak + 102) <= 20 for peak in peaks), "no fat"
    assert any(abs(peak - 50) <= 20 for peak in peaks), "no muscle or blood"
    assert (scan.hu > 300).mean() > 0.005, "no bone"


def test_there_are_two_lungs_of_adult_size_and_the_right_one_is_to_the_right() -> None:
    scan = scan_of(NORMAL)
    voxel_ml = float(np.prod(scan.grid.spacing_mm)) / 1000
    right, left = ((scan.lungs == side).sum() * voxel_ml for side in (1, 2))
    assert 1000 < left < right < 5000
    columns = np.arange(scan.hu.shape[2])
    middle = [np.average(columns, weights=(scan.lungs == side).sum(axis=(0, 1))) for side in (1, 2)]
    assert middle[0] < middle[1], "columns grow to the patient's left"


def test_dependent_lung_is_denser_and_turns_over_with_the_patient() -> None:
    differences = []
    for is_prone in (False, True):
        scan = make_scan(2, 0, body(is_prone=is_prone), NORMAL, quiet(is_prone=is_prone))
        lungs = ndimage.binary_erosion(scan.lungs > 0, iterations=2)
        rows = np.where(lungs.any(axis=(0, 2)))[0]
        front, back = np.zeros_like(lungs), np.zeros_like(lungs)
        front[:, rows[0] : rows[len(rows) // 4]] = True
        back[:, rows[3 * len(rows) // 4] : rows[-1]] = True
        differences.append(np.median(scan.hu[lungs & back]) - np.median(scan.hu[lungs & front]))
    assert differences[0] > 10
    assert differences[1] < -10


def test_planted_ground_glass_extent_is_measured_back() -> None:
    for share in (0.15, 0.30, 0.45):
        scan = scan_of(replace(NSIP, ground_glass=share, reticulation=0.0))
        difference = scan.hu.astype(int) - scan_of(NORMAL).hu
        measured = (difference[scan.lungs > 0] > 0.5 * NSIP.ground_glass_hu).mean()
        assert measured == pytest.approx(share, abs=0.05)
        assert scan.extents["ground_glass"] == pytest.approx(100 * share, abs=1.0)


def share_by_height(scan: Scan, label: int) -> tuple[float, float]:
    """Share of the lung that bears a label in the lower and the upper third."""
    lungs = scan.lungs > 0
    levels = np.where(lungs.any(axis=(1, 2)))[0]
    low, high = np.quantile(levels, [1 / 3, 2 / 3]).astype(int)
    return tuple(
        float((scan.disease[part] == label)[lungs[part]].mean()) for part in (slice(0, low), slice(high, None))
    )


def test_nsip_is_basal_and_symmetric() -> None:
    scan = scan_of(replace(NSIP, reticulation=0.0))
    lower, upper = share_by_height(scan, 1)
    assert lower > 3 * upper
    right, left = ((scan.disease == 1)[scan.lungs == side].mean() for side in (1, 2))
    assert 0.6 < right / left < 1.67


def test_sparing_leaves_the_lung_under_the_pleura_free() -> None:
    costal = {}
    for has_sparing in (False, True):
        scan = scan_of(replace(NSIP, ground_glass=0.5, basal=0.2, has_sparing=has_sparing, reticulation=0.0))
        lungs = scan.lungs > 0
        rim = lungs & ~ndimage.binary_erosion(lungs, np.ones((1, 3, 3)))
        costal[has_sparing] = (scan.disease[rim] == 1).mean() / (scan.disease[lungs] == 1).mean()
    assert costal[True] < 0.6 * costal[False]


def test_op_is_patchy_peripheral_consolidation() -> None:
    scan = scan_of(OP)
    solid = scan.disease == 3
    _, patches = ndimage.label(ndimage.binary_opening(solid))
    assert patches >= 3
    assert 0.5 * 12 < scan.extents["consolidation"] < 1.6 * 12
    assert np.median(scan.hu[ndimage.binary_erosion(solid)]) > -150
    depth = ndimage.distance_transform_edt(scan.lungs > 0, sampling=scan.grid.spacing_mm)
    assert np.median(depth[solid]) < np.median(depth[scan.lungs > 0])


def test_honeycombing_is_subpleural_and_holds_air_and_walls() -> None:
    plan = DiseasePlan(Pattern.OTHER, OtherKind.UIP, reticulation=0.15, honeycombing=0.12)
    acquisition = replace(quiet(), matrix=224, step_mm=2.0)
    scan = make_scan(2, 0, body(), plan, acquisition)
    cysts = scan.hu[scan.disease == 4]
    assert (cysts < -880).mean() > 0.1
    assert (cysts > -500).mean() > 0.1
    depth = ndimage.distance_transform_edt(scan.lungs > 0, sampling=scan.grid.spacing_mm)
    assert np.median(depth[scan.disease == 4]) < 0.7 * np.median(depth[scan.lungs > 0])


def test_thick_slices_average_thin_ones() -> None:
    thin = scan_of(NSIP)
    thick = scan_of(NSIP, window=2, stride=2)
    mean = (thin.hu[0::2][: len(thick.hu)].astype(float) + thin.hu[1::2][: len(thick.hu)]) / 2
    assert np.abs(mean - thick.hu).mean() < 2
    assert thick.grid.spacing_mm[0] == pytest.approx(2 * thin.grid.spacing_mm[0])
    assert thick.grid.origin_mm[0] == pytest.approx(thin.grid.origin_mm[0] + thin.grid.spacing_mm[0] / 2)


def test_noise_has_the_planned_strength() -> None:
    plan = replace(quiet(), noise_hu=20.0)
    noise = make_scan(2, 0, body(), NORMAL, plan).hu.astype(float) - scan_of(NORMAL).hu
    assert noise[20:30, 30:60, 30:60].std() == pytest.approx(20, rel=0.1)
    one, other = noise[20, 30:60, 30:60].ravel(), noise[21, 30:60, 30:60].ravel()
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.15, "slices share their noise"


def noise_power(*, is_sharp: bool) -> np.ndarray:
    """Power in five bands of frequency up to half a line pair per pixel of 0.7 mm, scaled to unit sum."""
    kernels = load_acquisition_settings().kernels
    rng = np.random.Generator(np.random.Philox(3))
    planes = [textured_noise((256, 256), kernels.sharp if is_sharp else kernels.soft, 0.7, rng) for _ in range(4)]
    power = np.mean([np.abs(np.fft.fft2(plane)) ** 2 for plane in planes], axis=0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(256, 0.7), np.fft.fftfreq(256, 0.7)))
    edges = (0.005, 0.06, 0.25, 0.45, 0.6, 0.71)
    bands = [power[(frequency >= low) & (frequency < high)].mean() for low, high in pairwise(edges)]
    return np.array(bands) / np.sum(bands)


def test_noise_power_falls_at_the_end_keeps_a_low_part_and_a_sharp_kernel_is_rougher() -> None:
    sharp, soft = noise_power(is_sharp=True), noise_power(is_sharp=False)
    assert sharp[4] < sharp[3], "band-limited"
    assert soft[4] < 0.5 * soft[2]
    assert sharp[0] > sharp[1]
    assert soft[0] > soft[1]
    assert sharp[3:].sum() > 2 * soft[3:].sum()


def test_contrast_brightens_blood_only() -> None:
    plain, enhanced = scan_of(NORMAL), scan_of(NORMAL, blood_hu=250.0)
    changed = enhanced.hu.astype(int) - plain.hu > 100
    assert 0.005 < changed.mean() < 0.1
    assert np.median(plain.hu[changed]) == pytest.approx(42, abs=25)


def test_expiration_makes_lungs_small_and_dense() -> None:
    draws = [
        draw_habitus(stream(4, 0, Stream.ANATOMY), is_female=True, age_years=60, is_expiratory=flag)
        for flag in (False, True)
    ]
    assert draws[1].lung_height < 0.9 * draws[0].lung_height
    assert draws[1].base_density > draws[0].base_density + 25


@pytest.mark.parametrize("kind", list(EmphysemaKind))
def test_emphysema_lies_below_minus_950_where_it_is_planted(kind: EmphysemaKind) -> None:
    plan = DiseasePlan(Pattern.OTHER, OtherKind.EMPHYSEMA, emphysema=0.30, emphysema_kind=kind)
    scan = make_scan(2, 0, body(), plan, replace(quiet(), matrix=140, step_mm=2.8))
    lungs = scan.lungs > 0
    planted = (scan.disease == 5)[lungs].mean()
    assert planted == pytest.approx(0.30, abs=0.03)
    assert 0.6 * planted < (scan.hu[lungs] < -950).mean() < 1.2 * planted
    inner = ndimage.binary_erosion(scan.disease == 5)
    assert np.median(scan.hu[inner]) < -950


def test_paraseptal_emphysema_is_nearer_the_pleura_than_centrilobular() -> None:
    depths = []
    for kind in (EmphysemaKind.PARASEPTAL, EmphysemaKind.CENTRILOBULAR):
        scan = scan_of(DiseasePlan(Pattern.OTHER, OtherKind.EMPHYSEMA, emphysema=0.15, emphysema_kind=kind))
        depth = ndimage.distance_transform_edt(scan.lungs > 0, sampling=scan.grid.spacing_mm)
        depths.append(np.median(depth[scan.disease == 5]))
    assert depths[0] < 0.7 * depths[1]


def test_air_trapping_darkens_whole_lobules() -> None:
    scan, normal = scan_of(replace(NORMAL, air_trapping=0.2)), scan_of(NORMAL)
    trapped = scan.disease == 6
    assert trapped[scan.lungs > 0].mean() == pytest.approx(0.2, abs=0.03)
    darker = (scan.hu.astype(int) - normal.hu)[ndimage.binary_erosion(trapped)]
    assert np.median(darker) == pytest.approx(-50, abs=12)


def test_an_effusion_is_fluid_at_the_dependent_base_and_no_lung() -> None:
    wet, dry = scan_of(replace(NORMAL, effusion_mm=(22.0, 0.0))), scan_of(NORMAL)
    taken = (dry.lungs > 0) & (wet.lungs == 0)
    assert taken.sum() > 200
    assert (dry.lungs[taken] == 1).mean() > 0.97
    assert np.median(wet.hu[ndimage.binary_erosion(taken)]) == pytest.approx(9, abs=25)
    rows = [np.median(np.argwhere(part)[:, 1]) for part in (taken, dry.lungs > 0)]
    assert rows[0] > rows[1]
    assert np.array_equal(wet.lungs[wet.lungs > 0], dry.lungs[wet.lungs > 0])


def test_a_pneumothorax_is_gas_at_the_front_and_no_lung() -> None:
    torn, whole = scan_of(replace(NORMAL, pneumothorax_mm=12.0)), scan_of(NORMAL)
    taken = (whole.lungs > 0) & (torn.lungs == 0)
    assert taken.sum() > 200
    assert (whole.lungs[taken] == 1).mean() > 0.97
    assert np.median(torn.hu[taken]) < -940
    assert np.median(np.argwhere(taken)[:, 1]) < np.median(np.argwhere(whole.lungs > 0)[:, 1])


def test_gas_in_the_mediastinum_lies_between_the_lungs() -> None:
    torn, whole = scan_of(replace(NORMAL, has_pneumomediastinum=True)), scan_of(NORMAL)
    gas = (torn.hu.astype(int) - whole.hu) < -300
    assert gas.sum() > 20
    assert np.array_equal(torn.lungs, whole.lungs)
    columns = np.argwhere(gas)[:, 2]
    lungs = np.argwhere(whole.lungs > 0)[:, 2]
    assert abs(np.median(columns) - np.median(lungs)) < 0.2 * np.ptp(lungs)


def test_traction_widens_airways_inside_fibrosis_only() -> None:
    plan = replace(NSIP, ground_glass=0.2, reticulation=0.2)
    normal, pulled = (
        make_scan(2, 0, body(), replace(plan, traction=factor), replace(quiet(), matrix=160, step_mm=2.5))
        for factor in (1.0, 3.0)
    )
    darker = (pulled.hu.astype(int) - normal.hu) < -200
    fibrosis = ndimage.binary_dilation(normal.disease == 2, iterations=3)
    assert darker.sum() > 100
    assert darker[fibrosis].sum() > 0.85 * darker.sum()


def test_peribronchovascular_patches_lie_along_the_bronchi_and_peripheral_ones_under_the_pleura() -> None:
    depths = []
    for share in (0.0, 1.0):
        scan = scan_of(replace(OP, peribronchovascular=share))
        depth = ndimage.distance_transform_edt(scan.lungs > 0, sampling=scan.grid.spacing_mm)
        depths.append(np.median(depth[scan.disease == 3]))
    assert depths[1] > 1.25 * depths[0]


def test_ground_glass_keeps_to_the_lobules_when_it_is_geographic() -> None:
    soft, sharp = (scan_of(replace(NSIP, reticulation=0.0, geographic=value)) for value in (0.1, 0.6))
    difference = [np.abs(np.diff((scan.disease == 1).astype(int), axis=2)).sum() for scan in (soft, sharp)]
    assert difference[1] > 1.15 * difference[0]


@pytest.mark.parametrize("sign", ["reversed_halo", "perilobular", "hazy"])
def test_forms_of_organizing_pneumonia_are_less_solid_than_patches(sign: str) -> None:
    solid, other = scan_of(OP), scan_of(replace(OP, **{sign: 1.0}))
    lungs = ndimage.binary_erosion(solid.lungs > 0, iterations=2)
    shares = [(scan.hu[lungs] > -250).mean() for scan in (solid, other)]
    assert shares[1] < 0.8 * shares[0]


def test_a_second_scan_keeps_the_body_and_moves_the_patches() -> None:
    plan = quiet()
    first = make_scan(2, 0, body(), OP, plan)
    second = make_scan(2, 0, body(), OP, plan, later=Later(OP, 1.0, 1_000_000))
    assert np.array_equal(first.lungs, second.lungs)
    solid = [scan.disease == 3 for scan in (first, second)]
    assert 0.4 < solid[1].sum() / solid[0].sum() < 2.5
    overlap = (solid[0] & solid[1]).sum() / min(part.sum() for part in solid)
    assert overlap < 0.75
    still = make_scan(2, 0, body(), NSIP, plan, later=Later(NSIP, 1.0, 1_000_000))
    assert np.array_equal(still.disease, make_scan(2, 0, body(), NSIP, plan).disease), "fibrosis does not wander"
