"""ONNX through torch.export, with any batch and length, read by onnxruntime before it gets its name.

The graph maps input_ids and attention_mask (B, T) int64 to logits (B, T, V) float32. It has no cache: it is
for scoring, for encoders, and for tools that take whole texts.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hortus.artifact import replacing_folder
from hortus.errors import ConfigError
from hortus.language.export.comparison import TOLERANCES, Comparison, Probe, compare
from hortus.language.model import LanguageModel
from hortus.registry import require

__all__ = ["export_onnx"]

FILE = "model.onnx"


class _Graph(nn.Module):
    """The network with its two inputs by name."""

    def __init__(self, network: Any):
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.network(input_ids, attention_mask)


def export_onnx(model: LanguageModel, folder: str | Path) -> Comparison:
    """Write model.onnx (large weights beside it in model.onnx.data), tokenizer and config into a folder.

    Raises:
        ConfigError: an encoder-decoder, whose graph has other inputs.
        DeviceError: onnx, onnxscript or onnxruntime is not installed.
        ArtifactError: onnxruntime reads other logits.
    """
    for module in ("onnx", "onnxscript", "onnxruntime"):
        require(module, extra="export")
    if model.kind == "t5":
        raise ConfigError("a t5 as ONNX", allowed="decoders and encoders", do="export it to hf")
    network = model.network
    wide = next(network.parameters()).dtype == torch.float32
    graph = _Graph(network if wide else network.float()).eval()
    vocab_size = network.config.vocab_size
    with replacing_folder(folder) as temporary:
        _write(graph, temporary / FILE, vocab_size)
        model.tokenizer.save(temporary)
        session = _open(temporary / FILE)

        def theirs(ids: Tensor, mask: Tensor) -> np.ndarray:
            return session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]

        probe = Probe(vocab_size, model.max_length)
        return compare(network, theirs, probe, TOLERANCES["float32"], "onnxruntime")


def _write(graph: nn.Module, path: Path, vocab_size: int) -> None:
    ids = torch.randint(vocab_size, (2, 9))
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    shape = {0: batch, 1: length}
    with _quiet():
        torch.onnx.export(
            graph,
            (ids, torch.ones_like(ids)),
            str(path),
            dynamo=True,
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_shapes={"input_ids": shape, "attention_mask": shape},
            external_data=True,
            verbose=False,
        )


def _open(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its progress to stdout, where results go."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
