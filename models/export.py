"""A model for other programs: a MONAI bundle, and ONNX. Both are checked against the model before they are kept."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from domain import batch_keys
from domain.errors import ArtefactError, OutputFolderError, SettingsError
from domain.patterns import PATTERNS
from models import selftest
from models.artefact import Artefact
from models.artefact_format import SELFTEST_NAME
from models.network import PatternNetwork

TOLERANCE = 1e-4  # largest difference of a probability between the model and its export
ONNX_OPSET = 18
ONNX_NAME = "model.onnx"
PROGRAM_NAME = "models/model.pt2"


class CalibratedEnsemble(nn.Module):
    """All members, their mean logits, temperature and bias: image and quantitative CT to probabilities."""

    temperature: Tensor
    bias: Tensor

    def __init__(self, members: tuple[PatternNetwork, ...], temperature: float, bias: tuple[float, ...]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.register_buffer("temperature", torch.tensor(temperature))
        self.register_buffer("bias", torch.tensor(bias))

    def forward(self, image: Tensor, quantitative: Tensor) -> Tensor:
        """Image (B, C, I, J, K) and quantities (B, Q), NaN where unknown -> probabilities (B, 4)."""
        logits = torch.stack([member(image, quantitative)["pattern_logits"] for member in self.members])  # (M, B, 4)
        return torch.softmax(logits.mean(dim=0) / self.temperature + self.bias, dim=1)


def ensemble_of(artefact: Artefact) -> CalibratedEnsemble:
    """The ensemble of an artefact, on CPU."""
    calibrator = artefact.predictor.belief.calibrator
    return CalibratedEnsemble(artefact.predictor.members, calibrator.temperature, calibrator.bias).cpu().eval()


def example_inputs(artefact: Artefact) -> tuple[Tensor, Tensor]:
    """Image (1, C, I, J, K) and quantities (1, Q) of the self-test's volume."""
    volume, _ = selftest.read(artefact.folder / SELFTEST_NAME)
    item = artefact.preprocess(volume)
    image = torch.as_tensor(item[batch_keys.IMAGE]).as_subclass(Tensor).float()[None]
    quantitative = torch.as_tensor(item[batch_keys.QUANTITATIVE]).as_subclass(Tensor).float()[None]
    return image.cpu().contiguous(), quantitative.cpu()


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Torch's exporter warns of its own deprecations, at length."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def export_onnx(artefact: Artefact, path: Path) -> float:
    """Write one ONNX file, weights inside, and check it with onnxruntime.

    Args:
        artefact: Loaded model.
        path: Ends in ``.onnx``. Inputs ``image`` and ``quantitative``, output ``probabilities``, any batch size.

    Returns:
        Largest difference of a probability on the self-test's volume and a disturbed copy of it.

    Raises:
        SettingsError: onnx and onnxruntime are not installed.
        ArtefactError: The export says something else than the model.
    """
    if any(find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")):
        raise SettingsError("export", ["ONNX needs further packages: pip install 'myolung[export]'"])
    network = ensemble_of(artefact)
    image, quantitative = _two_rows(*example_inputs(artefact))
    path.parent.mkdir(parents=True, exist_ok=True)
    batch = torch.export.Dim("batch")
    with _quiet_exporter():
        program = torch.onnx.export(
            network,
            (image, quantitative),
            input_names=["image", "quantitative"],
            output_names=["probabilities"],
            dynamic_shapes=({0: batch}, {0: batch}),
            opset_version=ONNX_OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise ArtefactError(f"{path}: torch gave no ONNX program")
    program.save(path, include_initializers=True)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = 0.0
    for rows in (slice(0, 1), slice(0, 2)):  # another batch size than the one it was traced with, too
        (found,) = session.run(None, {"image": image[rows].numpy(), "quantitative": quantitative[rows].numpy()})
        with torch.no_grad():
            expected = network(image[rows], quantitative[rows]).numpy()
        worst = max(worst, float(np.abs(found - expected).max()))
    return _agreement(worst, path)


def export_bundle(artefact: Artefact, folder: Path) -> float:
    """Write a MONAI bundle that ``python -m monai.bundle run`` executes on a scan.

    The network is a ``torch.export`` program: it loads without this project. The preprocessing is this project's own
    graph, named in the configuration, so the package must be installed where the bundle runs.

    Args:
        artefact: Loaded model.
        folder: Made whole; must not exist, or be an older bundle.

    Returns:
        Largest difference of a probability on the self-test's volume.

    Raises:
        OutputFolderError: The folder exists and is no bundle.
        ArtefactError: The exported program says something else than the model.
    """
    if folder.exists() and not (folder / "configs" / "metadata.json").is_file():
        raise OutputFolderError(f"{folder}: exists and is not a MONAI bundle; it is left as it is. Choose another.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    network = ensemble_of(artefact)
    image, quantitative = example_inputs(artefact)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name in ("configs", "models", "docs"):
            (staging / name).mkdir()
        with _quiet_exporter():
            program = torch.export.export(network, (image, quantitative))
            torch.export.save(program, staging / PROGRAM_NAME)
            loaded = torch.export.load(staging / PROGRAM_NAME).module()
        with torch.no_grad():
            worst = float((loaded(image, quantitative) - network(image, quantitative)).abs().max())
        _agreement(worst, folder)
        write_json(staging / "configs" / "metadata.json", bundle_metadata(artefact, image, quantitative))
        write_json(staging / "configs" / "inference.json", bundle_inference())
        assert artefact.manifest.preprocess is not None  # it comes with a network
        write_json(staging / "configs" / "preprocess.json", artefact.manifest.preprocess.model_dump(mode="json"))
        shutil.copy(artefact.folder / "CARD.md", staging / "docs" / "README.md")
        staging.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return worst


def bundle_inference() -> dict[str, Any]:
    """``inference.json``: a scan in, ``probabilities.json`` out. Code stands in a configuration here and only here."""
    patterns = [pattern.value for pattern in PATTERNS]
    return {
        "imports": [
            "$import json",
            "$import torch",
            "$import data_pipeline",
            "$from pathlib import Path",
            "$from data_pipeline.graph import build_preprocess",
            "$from data_pipeline.graph import run_graph",
            "$from domain.specs import PreprocessSpec",
        ],
        "bundle_root": ".",
        "scan": "",
        "output_file": "$@bundle_root + '/eval/probabilities.json'",
        "patterns": patterns,
        "preprocess_spec": (
            "$PreprocessSpec.model_validate_json(Path(@bundle_root, 'configs', 'preprocess.json').read_text())"
        ),
        "volume": "$data_pipeline.read_volume(@scan)",
        "item": "$run_graph(build_preprocess(@preprocess_spec), @volume)",
        "network": f"$torch.export.load(@bundle_root + '/{PROGRAM_NAME}').module()",
        "probabilities": "$@network(@item['image'][None].float(), @item['quantitative'][None].float())[0].tolist()",
        "initialize": ["$Path(@output_file).parent.mkdir(parents=True, exist_ok=True)"],
        "run": ["$Path(@output_file).write_text(json.dumps(dict(zip(@patterns, @probabilities))))"],
    }


def bundle_metadata(artefact: Artefact, image: Tensor, quantitative: Tensor) -> dict[str, Any]:
    """``metadata.json`` in MONAI's schema."""
    manifest = artefact.manifest
    versions = manifest.library_versions
    return {
        "version": manifest.code_version,
        "changelog": {manifest.code_version: "exported"},
        "monai_version": versions["monai"],
        "pytorch_version": versions["torch"],
        "numpy_version": versions["numpy"],
        "required_packages_version": {"myolung": manifest.code_version},
        "task": "NSIP, OP, mixed or other on HRCT in myositis-associated interstitial lung disease",
        "description": "Calibrated ensemble. Research use only; not a medical device.",
        "authors": "the MyoLung developers",
        "copyright": manifest.licence,
        "intended_use": "Research use only.",
        "data_source": manifest.trained_on,
        "model_digest": manifest.digest,
        "network_data_format": {
            "inputs": {
                "image": _tensor_format("image", image, "lung windows and mask, 0..1, RAS"),
                "quantitative": _tensor_format("quantity", quantitative, ", ".join(manifest.quantities)),
            },
            "outputs": {
                "probabilities": {
                    "type": "probabilities",
                    "format": "classes",
                    "num_channels": len(PATTERNS),
                    "spatial_shape": [],
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": False,
                    "channel_def": {str(index): pattern.value for index, pattern in enumerate(PATTERNS)},
                }
            },
        },
    }


def _tensor_format(kind: str, example: Tensor, meaning: str) -> dict[str, Any]:
    return {
        "type": kind,
        "format": "hounsfield" if kind == "image" else "table",
        "num_channels": example.shape[1],
        "spatial_shape": list(example.shape[2:]),
        "dtype": "float32",
        "value_range": [0, 1] if kind == "image" else [],
        "is_patch_data": False,
        "channel_def": {"0": meaning},
    }


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Indented JSON."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _two_rows(image: Tensor, quantitative: Tensor) -> tuple[Tensor, Tensor]:
    """The example, and a copy with other values and a missing measure."""
    other = quantitative * 1.1
    other[0, 0] = torch.nan
    return torch.cat([image, image.flip(2) * 0.9]), torch.cat([quantitative, other])


def _agreement(worst: float, place: Path) -> float:
    if not worst <= TOLERANCE:
        raise ArtefactError(f"{place}: the export differs from the model by {worst:.2g} in a probability; not usable")
    return worst
