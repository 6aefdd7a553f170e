"""Training items come from the same graph as inference, bit for bit, with and without the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from data_pipeline.datamodule import GraphDataModule
from data_pipeline.dataset import GraphDataset, Sample, Source, source_fingerprint
from data_pipeline.graph import build_preprocess, run_graph
from domain import batch_keys as keys
from domain.affine import Affine
from domain.config_files import config_path
from domain.specs import ComponentSpec, PreprocessSpec
from domain.strict_yaml import load_settings
from domain.volume import Volume

SPEC = load_settings(PreprocessSpec, config_path("preprocess/small_3d.yaml"))


def lungs_in_water(seed: int) -> Volume:
    rng = np.random.default_rng(seed)
    hu = np.full((60, 48, 40), 20, dtype=np.int16)
    for first in (8, 34):
        hu[first : first + 18, 10:38, 4:36] = -850 + 20 * rng.standard_normal((18, 28, 32))
    return Volume(hu, Affine.from_spacing((5.0, 5.0, 6.0)), content_digest=f"scan{seed}")


class CountingReader:
    """Plays the reader; the source is the path of an empty file named after the seed."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, source: Source) -> Volume:
        self.calls += 1
        return lungs_in_water(int(Path(str(source)).name))


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    paths = [tmp_path / str(seed) for seed in range(3)]
    for path in paths:
        path.touch()
    return [Sample(index, path, np.array([1.0, 0, 0, 0])) for index, path in enumerate(paths)]


def test_training_and_inference_give_equal_tensors(samples: list[Sample], tmp_path: Path) -> None:
    read = CountingReader()
    for cache_dir in (None, tmp_path / "cache", tmp_path / "cache"):  # not cached, written, read back
        item = GraphDataset(samples, SPEC, cache_dir=cache_dir, read=read)[1]
        direct = run_graph(build_preprocess(SPEC), lungs_in_water(1))
        assert torch.equal(item[keys.IMAGE], direct[keys.IMAGE])
        torch.testing.assert_close(item[keys.QUANTITATIVE], direct[keys.QUANTITATIVE], rtol=0, atol=0, equal_nan=True)
    assert read.calls == 2


def test_items_finished_in_batches_are_those_finished_one_by_one(samples: list[Sample]) -> None:
    dataset = GraphDataset(samples, SPEC, read=CountingReader())
    raw = [dataset.unfinished()[index] for index in range(2)]
    assert raw[0][keys.IMAGE].dtype == torch.int16
    batch = dataset.tail({key: torch.stack([item[key] for item in raw]) for key in raw[0]})
    for index in range(2):
        assert torch.equal(batch[keys.IMAGE][index], dataset[index][keys.IMAGE])


def test_a_cached_scan_is_not_read_again_until_its_file_changes(samples: list[Sample], tmp_path: Path) -> None:
    read = CountingReader()
    dataset = GraphDataset(samples, SPEC, cache_dir=tmp_path / "cache", read=read)
    for _ in range(2):
        dataset[0]
    assert read.calls == 1
    Path(str(samples[0].source)).write_text("longer")
    dataset[0]
    assert read.calls == 2


def test_a_file_in_a_folder_with_the_member_sign_has_a_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "new!" / "scan.nii"
    path.parent.mkdir()
    path.write_text("scan")
    before = source_fingerprint(path)
    path.write_text("longer scan")
    assert source_fingerprint(path) != before


def test_another_spec_does_not_find_the_entries(samples: list[Sample], tmp_path: Path) -> None:
    read = CountingReader()
    GraphDataset(samples, SPEC, cache_dir=tmp_path / "cache", read=read)[0]
    shape = ComponentSpec(name="fit_shape", version=1, params={"shape": [32, 32, 32]})
    changed = SPEC.model_copy(update={"steps": tuple(shape if s.name == "fit_shape" else s for s in SPEC.steps)})
    item = GraphDataset(samples, changed, cache_dir=tmp_path / "cache", read=read)[0]
    assert item[keys.IMAGE].shape[1:] == (32, 32, 32)
    assert read.calls == 2


def test_batches_of_the_datamodule_stack_and_keep_order_in_validation(samples: list[Sample]) -> None:
    dataset = GraphDataset(samples, SPEC, read=CountingReader())
    module = GraphDataModule(dataset, dataset, batch_size=2)
    loader = module.val_dataloader()
    assert isinstance(loader, DataLoader)
    batches = list(loader)
    assert [batch[keys.CASE_INDEX].tolist() for batch in batches] == [[0, 1], [2]]
    assert batches[0][keys.IMAGE].ndim == 5
    single = dataset[0][keys.IMAGE]
    assert torch.equal(batches[0][keys.IMAGE][0], single)


def test_a_validation_batch_is_never_augmented(samples: list[Sample]) -> None:
    module = GraphDataModule(GraphDataset(samples, SPEC, read=CountingReader()))
    batch = {keys.IMAGE: torch.zeros(1)}
    assert module.on_after_batch_transfer(batch, 0) is batch
