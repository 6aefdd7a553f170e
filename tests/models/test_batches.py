from __future__ import annotations

from typing import Any

import torch

from domain import batch_keys
from models.batches import ResidentItems, keep_resident, make_loader, memory_for, part_of, read_labels
from tests.models.conftest import quick_settings

Items = list[dict[str, Any]]


def test_batches_from_memory_are_those_from_the_loader(items: Items) -> None:
    settings = quick_settings(batch_size=5)
    resident = keep_resident(items[:12], settings)
    assert isinstance(resident, ResidentItems)
    for shuffle in (False, True):
        loaders = [make_loader(kind, settings, shuffle=shuffle, seed=3) for kind in (items[:12], resident)]
        assert len(loaders[0]) == len(loaders[1])
        for plain, kept in zip(*loaders, strict=True):
            assert plain.keys() == kept.keys()
            for key, values in plain.items():
                torch.testing.assert_close(values, kept[key], equal_nan=True)


def test_parts_of_a_dataset_in_memory_share_it(items: Items) -> None:
    resident = keep_resident(items[:8], quick_settings())
    part = part_of(part_of(resident, [7, 2, 4]), [2, 0])
    assert isinstance(part, ResidentItems)
    assert part.column(batch_keys.CASE_INDEX).tolist() == [4, 7]
    assert part.tensors[batch_keys.IMAGE] is resident.tensors[batch_keys.IMAGE]
    targets, quantitative = read_labels(part)
    assert torch.equal(targets[0], items[4][batch_keys.PATTERN_TARGET])
    assert len(quantitative) == 2


def test_scans_that_do_not_fit_stay_on_disk(items: Items) -> None:
    assert keep_resident(items, quick_settings(keep_scans_in="disk")) is items
    assert memory_for(1 << 60, quick_settings()) is None
