"""The graph: whole on a small chest, nothing random, errors keep their type."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import Randomizable, RandomizableTrait
from synthetic_chests import chest as planted_chest

from data_pipeline.graph import build_preprocess, quantify_volume, run_graph, split_preprocess
from data_pipeline.transforms import TRANSFORMS
from domain import batch_keys as keys
from domain.affine import Affine
from domain.config_files import config_path
from domain.errors import RegistryError, SettingsError, StudyError
from domain.findings import QualityCode, Stage
from domain.quantities import NETWORK_QUANTITIES
from domain.specs import ComponentSpec, PreprocessSpec
from domain.strict_yaml import load_settings
from domain.volume import Volume

SHIPPED = sorted(path.stem for path in config_path("preprocess/small_3d.yaml").parent.glob("*.yaml"))
FOR_NETWORKS = [name for name in SHIPPED if name != "quantify_only"]


def shipped(name: str) -> PreprocessSpec:
    return load_settings(PreprocessSpec, config_path(f"preprocess/{name}.yaml"))


def chest() -> Volume:
    """Body of fat and muscle, a spine, two lungs of noise about -850 HU; 4 mm voxels, RAS."""
    rng = np.random.default_rng(0)
    i, j, k = (axis.astype(np.float32) * 4.0 for axis in np.indices((96, 72, 72)))
    hu = np.full(i.shape, -1000.0, dtype=np.float32)
    x, y, z = i - 190, j - 144, k - 144
    hu[(x / 170) ** 2 + (y / 120) ** 2 < 1] = 20
    hu[(x**2 + (y + 85) ** 2) < 18**2] = 400
    for side in (-1, 1):
        lung = ((x - side * 75) / 55) ** 2 + (y / 80) ** 2 + (z / 110) ** 2 < 1
        hu[lung] = -850 + 15 * rng.standard_normal(int(lung.sum()))
    return Volume(np.round(hu).astype(np.int16), Affine.from_spacing((4.0, 4.0, 4.0)), content_digest="chest")


@pytest.mark.parametrize("name", FOR_NETWORKS)
def test_every_shipped_spec_gives_a_batchable_item(name: str) -> None:
    data = run_graph(build_preprocess(shipped(name)), chest())
    assert data[keys.IMAGE].dtype == torch.float32
    assert torch.isfinite(data[keys.IMAGE]).all()
    assert 0 <= data[keys.IMAGE].min() <= data[keys.IMAGE].max() <= 1
    assert data[keys.IMAGE].shape[1:] == data[keys.IMAGE_MASK].shape[1:]
    assert data[keys.QUANTITATIVE].shape == (len(NETWORK_QUANTITIES),)
    assert data[keys.LUNG_MASK].shape == data[keys.VOLUME].shape


@pytest.mark.parametrize("name", FOR_NETWORKS)
def test_nothing_in_the_graph_is_random(name: str) -> None:
    compose = build_preprocess(shipped(name))
    assert not [step for step in compose.transforms if isinstance(step, RandomizableTrait | Randomizable)]
    first, second = (run_graph(compose, chest()) for _ in range(2))
    assert torch.equal(first[keys.IMAGE], second[keys.IMAGE])


@pytest.mark.parametrize("name", FOR_NETWORKS)
def test_head_and_tail_do_what_the_whole_graph_does(name: str) -> None:
    head, tail = split_preprocess(shipped(name))
    parts = tail(run_graph(head, chest()))
    whole = run_graph(build_preprocess(shipped(name)), chest())
    assert torch.equal(parts[keys.IMAGE], whole[keys.IMAGE])
    torch.testing.assert_close(parts[keys.QUANTITATIVE], whole[keys.QUANTITATIVE], rtol=0, atol=0, equal_nan=True)


def test_a_volume_without_lungs_is_a_typed_study_error() -> None:
    full_of_water = Volume(np.zeros((40, 40, 40), dtype=np.int16), Affine.from_spacing((4.0, 4.0, 4.0)))
    with pytest.raises(StudyError) as caught:
        run_graph(build_preprocess(shipped("small_3d")), full_of_water)
    assert (caught.value.stage, caught.value.code) == (Stage.GRAPH, QualityCode.MASK_FAILED)


def test_the_input_volume_is_left_alone() -> None:
    volume = chest()
    before = volume.voxels.copy()
    run_graph(build_preprocess(shipped("small_3d")), volume)
    assert np.array_equal(volume.voxels, before)


def test_read_only_voxels_are_accepted() -> None:
    volume = chest()
    volume.voxels.setflags(write=False)
    run_graph(build_preprocess(shipped("small_3d")), volume)


def test_an_unknown_step_is_refused_by_name() -> None:
    with pytest.raises(RegistryError, match="no_such_step"):
        build_preprocess(PreprocessSpec(name="x", steps=(ComponentSpec(name="no_such_step", version=1),)))


def test_a_misspelt_parameter_is_refused() -> None:
    step = ComponentSpec(name="crop_to_lungs", version=1, params={"margin": 3.0})
    with pytest.raises(SettingsError, match="margin"):
        TRANSFORMS.check(step)


def test_quantitative_ct_needs_no_network() -> None:
    data = quantify_volume(chest())
    assert keys.IMAGE not in data
    assert 3000 < data[keys.QUANTITATIVE_TABLE]["lung_volume_ml"] < 5000


@pytest.mark.parametrize("name", FOR_NETWORKS)
def test_the_network_sees_nothing_far_from_the_lungs(name: str) -> None:
    volume = chest()
    other = chest()
    far = np.ones(volume.voxels.shape, dtype=bool)
    far[12:84, 10:62, 4:68] = False  # the lungs with a generous rim
    other.voxels[far & (volume.voxels > -500) & (volume.voxels < 300)] = 90  # another wall, the same lungs
    first, second = (run_graph(build_preprocess(shipped(name)), item)[keys.IMAGE] for item in (volume, other))
    assert torch.equal(first, second)
    assert (first[0] > 0.5).any(), "the rim of the lungs stays visible"


def test_tissue_channels_hold_what_the_table_counts_where_it_lies() -> None:
    scan = planted_chest("op_peripheral")
    data = run_graph(build_preprocess(shipped("small_3d")), Volume(scan.hu, Affine.from_spacing(scan.spacing_mm)))
    table, image = data[keys.QUANTITATIVE_TABLE], data[keys.IMAGE]
    maps = dict(zip(("ggo", "reticulation", "consolidation", "honeycombing"), image[4:], strict=True))
    amounts = {name: float(channel.sum()) for name, channel in maps.items()}
    for name in ("ggo", "reticulation"):
        share = table[f"{name}_percent"] / table["consolidation_percent"]
        assert amounts[name] / amounts["consolidation"] == pytest.approx(share, rel=0.05), name
    dense = maps["consolidation"] > 0.6
    assert image[0][dense].mean() > image[0][data[keys.IMAGE_MASK][0].bool()].mean() + 0.3, "dense where HU are high"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("quantify", "crop_to_lungs", "resample", "fit_shape"), "only a step `tissue_maps` before it makes"),
        (("quantify", "crop_to_lungs", "tissue_maps", "resample", "fit_shape"), "must come after fit_shape, resample"),
        (("crop_to_lungs", "resample", "tissue_maps"), "must come after quantify"),
    ],
)
def test_tissue_maps_out_of_place_are_refused_before_any_scan_is_read(names: tuple[str, ...], expected: str) -> None:
    steps = {step.name: step for step in shipped("small_3d").steps}
    spec = PreprocessSpec(name="x", steps=tuple(steps[name] for name in (*names, "window")))
    for build in (build_preprocess, split_preprocess):
        with pytest.raises(SettingsError, match=expected):
            build(spec)
