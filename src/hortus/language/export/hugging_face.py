"""A Hugging Face folder, in another number format if wanted; read again before it gets its name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from hortus.artifact import read_config, replacing_folder
from hortus.errors import ConfigError
from hortus.language.export.comparison import TOLERANCES, Comparison, Probe, compare
from hortus.language.model import LanguageModel
from hortus.models import load_network

__all__ = ["export_hugging_face"]

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def export_hugging_face(model: LanguageModel, folder: str | Path, dtype: str = "float32") -> Comparison:
    """Write the folder; transformers opens it, and checks it here where it is installed.

    Args:
        dtype: float32, float16 or bfloat16.

    Raises:
        ConfigError: another dtype.
        ArtifactError: what was written reads differently.
    """
    if dtype not in _DTYPES:
        raise ConfigError(f"dtype={dtype!r}", allowed=", ".join(_DTYPES))
    written = copy.copy(model)
    written.network = copy.deepcopy(model.network).to(_DTYPES[dtype])
    with replacing_folder(folder) as temporary:
        written.save(temporary)
        again = load_network(temporary, torch.float32)
        read: dict[str, Any] = {"hortus": again}
        if (peer := _transformers(temporary)) is not None:
            read["transformers"] = peer
        paired = model.network.architecture == "encoder-decoder"
        # transformers' encoders count positions from the first column, ours from the first visible token.
        side: Literal["left", "right"] = "right" if model.network.architecture == "encoder" else "left"
        probe = Probe(model.network.config.vocab_size, model.max_length, side)
        tolerance = TOLERANCES[dtype]
        results = [
            compare(_reading(model.network, paired), _reading(network, paired), probe, tolerance, reader)
            for reader, network in read.items()
        ]
    worst = max(results, key=lambda result: result.difference)
    return worst._replace(readers=tuple(read))


def _reading(network: Any, paired: bool) -> Callable[[Tensor, Tensor], Any]:
    """Logits of either library's network; an encoder-decoder gets its source as target too."""

    def read(ids: Tensor, mask: Tensor) -> Any:
        target = {"decoder_input_ids": ids} if paired else {}
        output = network(input_ids=ids, attention_mask=mask, **target)
        return output if isinstance(output, Tensor) else output.logits

    return read


def _transformers(folder: Path) -> Any:
    """The folder as transformers opens it, or None where that is not installed."""
    try:
        import transformers
    except ModuleNotFoundError:
        return None
    opener = getattr(transformers, read_config(folder)["architectures"][0])
    return opener.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
