from __future__ import annotations

from typing import Any

import pytest
import torch

from domain import batch_keys
from models.belief import fit_belief
from models.cross_fitting import CrossFit
from models.ensemble import Ensemble, NetworkOutput, settle_batch_size
from tests.models.conftest import make_folds

Scan = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture
def ensemble(fitted: CrossFit) -> Ensemble:
    belief = fit_belief(fitted.outputs, [held_out for _, held_out in make_folds(48)])
    return Ensemble([member.network for member in fitted.members], belief.calibrator, torch.device("cpu"))


@pytest.fixture
def scans(items: list[dict[str, Any]]) -> list[Scan]:
    return [(item[batch_keys.IMAGE], item[batch_keys.QUANTITATIVE]) for item in items[:5]]


def run(ensemble: Ensemble, scans: list[Scan]) -> list[NetworkOutput]:
    return ensemble.run([image for image, _ in scans], [quantities for _, quantities in scans])


def test_a_scan_gets_the_same_bytes_beside_any_neighbours(ensemble: Ensemble, scans: list[Scan]) -> None:
    ensemble.batch_size = 4
    size = settle_batch_size(ensemble, *scans[0])
    alone = [run(ensemble, [scan])[0] for scan in scans]
    together = run(ensemble, scans)  # one full batch, and one of a single scan
    turned = run(ensemble, scans[::-1])[::-1]
    assert size in {1, 4}
    for one, other, third in zip(alone, together, turned, strict=True):
        assert one.equals(other)
        assert one.equals(third)


def test_batches_say_what_single_scans_say(ensemble: Ensemble, scans: list[Scan]) -> None:
    single = run(ensemble, scans)
    ensemble.batch_size = 3
    for one, other in zip(single, run(ensemble, scans), strict=True):
        assert one.evidence is not None
        assert other.evidence is not None
        torch.testing.assert_close(torch.tensor(one.logits), torch.tensor(other.logits), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(torch.tensor(one.evidence), torch.tensor(other.evidence), rtol=1e-2, atol=1e-3)


def test_a_device_on_which_neighbours_matter_runs_scans_one_by_one(
    ensemble: Ensemble, scans: list[Scan], monkeypatch: pytest.MonkeyPatch
) -> None:
    ensemble.batch_size = 4
    true_batch = ensemble._batch

    def leaking(rows: list[torch.Tensor]) -> torch.Tensor:
        batch = true_batch(rows)
        return batch + 1e-3 * batch.mean(dim=0)

    monkeypatch.setattr(ensemble, "_batch", leaking)
    assert settle_batch_size(ensemble, *scans[0]) == 1
    assert ensemble.batch_size == 1


def test_scans_of_different_shapes_keep_their_order(ensemble: Ensemble, scans: list[Scan]) -> None:
    ensemble.batch_size = 2
    smaller = (scans[1][0][..., :16], scans[1][1])
    found = run(ensemble, [scans[0], smaller, scans[2]])
    assert [output.seen.shape[-1] for output in found if output.seen is not None] == [24, 16, 24]
    assert found[1].equals(run(ensemble, [smaller])[0])


def test_an_output_survives_the_way_to_another_process(ensemble: Ensemble, scans: list[Scan]) -> None:
    (output,) = run(ensemble, scans[:1])
    assert NetworkOutput.from_arrays(output.arrays()).equals(output)
