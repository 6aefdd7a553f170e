"""Every random step: registered, on batches, seeded, within range, and never part of a preprocessing spec."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch

import data_pipeline.augmentations as package
import data_pipeline.transforms as transforms_package
from data_pipeline.augmentations import AUGMENTATIONS
from data_pipeline.graph import build_augment, build_preprocess
from data_pipeline.transforms import TRANSFORMS
from domain.batch_keys import IMAGE, IMAGE_TISSUE, QUANTITATIVE
from domain.errors import RegistryError
from domain.specs import AugmentSpec, ComponentSpec, PreprocessSpec

NAMES = [name for name, _ in AUGMENTATIONS.names()]


def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((3, 4, 20, 16, 12), generator=generator)
    image[:, 3] = (image[:, 3] > 0.5).float()
    return {IMAGE: image, QUANTITATIVE: torch.ones(3, 2)}


def always(name: str) -> AugmentSpec:
    return AugmentSpec(steps=(ComponentSpec(name=name, version=1, params={"probability": 1.0}),))


@pytest.mark.parametrize("name", NAMES)
def test_a_step_changes_the_image_and_nothing_else(name: str) -> None:
    before = batch()
    torch.manual_seed(1)
    after = build_augment(always(name))(before)
    assert after[IMAGE].shape == before[IMAGE].shape
    assert not torch.equal(after[IMAGE], before[IMAGE])
    assert 0 <= after[IMAGE].min() <= after[IMAGE].max() <= 1 + 1e-6
    assert torch.equal(after[QUANTITATIVE], before[QUANTITATIVE])
    assert torch.equal(before[IMAGE], batch()[IMAGE])


@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_give_equal_images(name: str) -> None:
    results = []
    for _ in range(2):
        torch.manual_seed(7)
        results.append(build_augment(always(name))(batch())[IMAGE])
    assert torch.equal(*results)


@pytest.mark.parametrize("name", NAMES)
def test_probability_zero_changes_nothing(name: str) -> None:
    spec = AugmentSpec(steps=(ComponentSpec(name=name, version=1, params={"probability": 0.0}),))
    assert torch.equal(build_augment(spec)(batch())[IMAGE], batch()[IMAGE])


@pytest.mark.parametrize("name", ["noise", "intensity_drift"])
def test_a_mask_channel_is_no_density(name: str) -> None:
    assert torch.equal(build_augment(always(name))(batch())[IMAGE][:, 3], batch()[IMAGE][:, 3])


@pytest.mark.parametrize("name", NAMES)
def test_tissue_maps_move_with_the_body_and_keep_their_amounts(name: str) -> None:
    plain, tissue = batch(), torch.randint(0, 101, (3, 2, 20, 16, 12), generator=torch.Generator().manual_seed(1))
    shown = {**plain, IMAGE: torch.cat([plain[IMAGE], tissue / 100], dim=1), IMAGE_TISSUE: tissue.to(torch.uint8)}
    torch.manual_seed(1)
    after = build_augment(always(name))(shown)[IMAGE]
    torch.manual_seed(1)
    torch.testing.assert_close(after[:, :4], build_augment(always(name))(plain)[IMAGE])
    is_moved = name in {"side_flip", "geometric", "slice_thickness"}
    assert torch.equal(after[:, 4:], shown[IMAGE][:, 4:]) != is_moved


def test_a_geometric_step_of_size_zero_is_the_identity() -> None:
    params = {"probability": 1.0, "rotation_degrees": 0.0, "zoom": 0.0, "shift": 0.0}
    spec = AugmentSpec(steps=(ComponentSpec(name="geometric", version=1, params=params),))
    torch.testing.assert_close(build_augment(spec)(batch())[IMAGE], batch()[IMAGE], atol=1e-5, rtol=0)


def test_thick_slices_lose_detail_along_the_body_only() -> None:
    params = {"probability": 1.0, "max_factor": 2.5}
    step = build_augment(AugmentSpec(steps=(ComponentSpec(name="slice_thickness", version=1, params=params),)))
    torch.manual_seed(0)
    along = [float(step(batch())[IMAGE].diff(dim=4).std()) for _ in range(10)]
    assert min(along) < 0.5 * float(batch()[IMAGE].diff(dim=4).std())


@pytest.mark.parametrize("name", NAMES)
def test_a_random_step_cannot_be_written_into_a_preprocessing_spec(name: str) -> None:
    with pytest.raises(RegistryError):
        build_preprocess(PreprocessSpec(name="x", steps=(ComponentSpec(name=name, version=1),)))


@pytest.mark.parametrize(("module", "registry"), [(package, AUGMENTATIONS), (transforms_package, TRANSFORMS)])
def test_every_file_of_a_registry_folder_is_imported(module: object, registry: object) -> None:
    folder = Path(str(module.__file__)).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "registry"}
    listed = {getattr(module, name).__module__.rpartition(".")[2] for name in module.__all__ if name[0].isupper()}
    assert files <= listed | {"registry"}
    for name in files:
        importlib.import_module(f"{module.__name__}.{name}")
    assert len(registry.names()) == len(files)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", NAMES)
def test_a_step_stays_on_the_gpu(name: str) -> None:
    on_gpu = {key: value.cuda() for key, value in batch().items()}
    assert build_augment(always(name))(on_gpu)[IMAGE].is_cuda
