"""Encoders as int8 ONNX: written, then asked in onnxruntime what the page is asked in a browser.

Legend: T tokens, C classes.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from hortus.language import LanguageModel
from hortus.language.encoders import Answer, best_span
from hortus.language.export import export_onnx
from hortus.registry import require

__all__ = ["Int8Model", "write_int8"]


class _Paired(nn.Module):
    """An encoder that tells the second text by the separator before it, so that a graph has two inputs."""

    def __init__(self, network: Any, separator: int):
        super().__init__()
        self.network, self._separator = network, separator
        self.config, self.model_type = network.config, network.model_type
        self.architecture = network.architecture

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        separators = (input_ids == self._separator).long()
        types = (separators.cumsum(1) - separators).clamp(max=1)
        return self.network(input_ids, attention_mask, types)


def write_int8(model: LanguageModel, path: Path) -> None:
    """Export, then weights of products and embeddings to int8 (onnxruntime's dynamic quantization).

    Raises:
        DeviceError: onnx, onnxscript or onnxruntime is not installed.
    """
    quantization = require("onnxruntime.quantization", extra="export")
    network, separator = model.network, model.tokenizer.sep_id
    if network.config.head == "answer":
        assert separator is not None
        model = LanguageModel(_Paired(network, separator), model.tokenizer, max_length=model.max_length)
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(model, Path(folder) / "whole")
        whole = Path(folder) / "whole" / "model.onnx"
        # Seven bits: sums of eight-bit products saturate on processors without VNNI, and not in the browser.
        kind = quantization.QuantType.QInt8
        logging.disable(logging.WARNING)  # it advises steps that the export has done
        try:
            quantization.quantize_dynamic(whole, path, weight_type=kind, reduce_range=True)
        finally:
            logging.disable(logging.NOTSET)


class Int8Model:
    """A written encoder in onnxruntime, on one thread.

    Args:
        path: as `write_int8` left it.
        model: whose tokenizer, labels and length it has.
    """

    def __init__(self, path: Path, model: LanguageModel):
        onnxruntime = require("onnxruntime", extra="export")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        self._session = onnxruntime.InferenceSession(str(path), options)
        self._model = model

    def logits(self, ids: list[int]) -> np.ndarray:
        """(C,) of a classifier, (T, 2) of a head that answers."""
        row = np.array([ids], dtype=np.int64)
        feeds = {"input_ids": row, "attention_mask": np.ones_like(row)}
        logits: np.ndarray = self._session.run(None, feeds)[0][0]
        return logits

    def probabilities(self, text: str) -> np.ndarray:
        """(C,) of the classes; a text that is too long is cut."""
        model = self._model
        cls_id, sep_id = model.tokenizer.cls_id, model.tokenizer.sep_id
        assert cls_id is not None and sep_id is not None  # the page was written for them
        logits = self.logits([cls_id, *model.tokenizer.encode(text)[: model.max_length - 2], sep_id])
        weights: np.ndarray = np.exp(logits - logits.max())
        return weights / weights.sum()

    def classify(self, text: str) -> str:
        """The likeliest label."""
        labels: tuple[str, ...] = self._model.network.config.labels
        return labels[int(self.probabilities(text).argmax())]

    def answer(self, question: str, context: str) -> Answer:
        """The stretch of the context that answers the question, as `LanguageModel.answer` chooses it."""
        best = Answer("", 0.0, 0, 0)
        for window in self._model.windows(question, context):
            start, end, probability = best_span(self.logits(window.input_ids), window)
            if probability > best.probability:
                best = Answer(context[start:end], probability, start, end)
        return best

    def milliseconds(self, tokens: int, repeats: int = 15) -> float:
        """The median time of a text of so many tokens."""
        taken = []
        for _ in range(repeats):
            began = time.perf_counter()
            self.logits([5] * tokens)
            taken.append(1000 * (time.perf_counter() - began))
        return statistics.median(taken)
