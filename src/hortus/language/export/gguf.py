"""BLOOM as a GGUF file for llama.cpp, by the `gguf` package.

What llama.cpp expects differs from the checkpoint: the fused projection's rows are all queries, all keys, all
values (the checkpoint has them head by head); the head is written although it is the embedding; the
tokenizer goes in as tokens, kinds and merges under the pre-tokenizer name "bloom".

The written file is read again and compared; by llama.cpp itself where llama-cpp-python is installed.

Legend: D width, n heads, d head width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hortus.artifact import replacing_file
from hortus.errors import ArtifactError, ConfigError
from hortus.language.export.comparison import TOLERANCES, Comparison, Probe, compare
from hortus.language.model import LanguageModel
from hortus.models import build_network, family
from hortus.registry import require

__all__ = ["TYPES", "export_gguf"]

TYPES = ("float32", "float16", "q8_0")
# llama.cpp looks GELU up in a table of float16 numbers, so its logits differ more than the weights' rounding.
_LLAMA = 1e-1
_NAMES = {
    "embedding": "token_embd",
    "embedding_norm": "token_embd_norm",
    "final_norm": "output_norm",
    "attention_norm": "attn_norm",
    "attention.query_key_value": "attn_qkv",
    "attention.output": "attn_output",
    "feed_forward_norm": "ffn_norm",
    "feed_forward.expand": "ffn_up",
    "feed_forward.contract": "ffn_down",
}


def export_gguf(model: LanguageModel, path: str | Path, weights: str = "float32") -> Comparison:
    """Write one .gguf file.

    Args:
        weights: float32, float16 or q8_0 (blocks of 32 int8 numbers with a float16 scale).

    Raises:
        ConfigError: another family or type, a shape that llama.cpp does not have.
        DeviceError: gguf is not installed.
        ArtifactError: what was written reads differently, or the tokenizer is not byte-level BPE.
    """
    require("gguf", extra="export")
    config = model.network.config
    if model.kind != "bloom" or weights not in TYPES:
        raise ConfigError(f"a {model.kind} as {weights} GGUF", allowed=f"bloom as {', '.join(TYPES)}")
    if config.apply_residual_connection_post_layernorm:
        raise ConfigError("apply_residual_connection_post_layernorm=true in GGUF", allowed="false")
    if weights == "q8_0" and config.hidden_size % 32:
        raise ConfigError(f"hidden_size={config.hidden_size} as q8_0", allowed="multiples of 32")
    with replacing_file(path) as temporary:
        _write(model, temporary, weights)
        readers: dict[str, Callable[[Tensor, Tensor], np.ndarray]] = {"gguf": _reader(temporary, config)}
        if (peer := _llama(temporary, model.max_length)) is not None:
            readers["llama.cpp"] = peer
        limits = Probe(model.tokenizer.vocab_size, model.max_length, padding_side="none")
        results = [
            compare(model.network, read, limits, TOLERANCES[weights] if name == "gguf" else _LLAMA, name)
            for name, read in readers.items()
        ]
    worst = max(results, key=lambda result: result.difference)
    return worst._replace(readers=tuple(readers))


def _write(model: LanguageModel, path: Path, weights: str) -> None:
    import gguf

    config = model.network.config
    writer = gguf.GGUFWriter(str(path), "bloom")
    writer.add_name(model.card.name)
    writer.add_context_length(model.max_length)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(4 * config.hidden_size)
    writer.add_block_count(config.num_layers)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_heads)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    kinds = {"float32": "ALL_F32", "float16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0"}
    writer.add_file_type(gguf.LlamaFileType[kinds[weights]])
    _write_tokenizer(writer, model)
    for name, tensor in model.network.named_parameters():
        array = _by_kind(name, tensor.detach().float(), config.num_heads).numpy()
        written = _stored_name(name)
        for target in (written, "output.weight") if written == "token_embd.weight" else (written,):
            _add(writer, target, array, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add(writer: Any, name: str, array: np.ndarray, weights: str) -> None:
    import gguf

    if array.ndim == 1 or weights == "float32":
        writer.add_tensor(name, array.astype(np.float32))
    elif weights == "float16":
        writer.add_tensor(name, array.astype(np.float16))
    else:
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)


def _stored_name(own: str) -> str:
    """blocks.3.attention.output.bias -> blk.3.attn_output.bias."""
    module, _, kind = own.rpartition(".")
    if module.startswith("blocks."):
        _, layer, part = module.split(".", 2)
        return f"blk.{layer}.{_NAMES[part]}.{kind}"
    return f"{_NAMES[module]}.{kind}"


def _by_kind(name: str, tensor: Tensor, heads: int) -> Tensor:
    """Rows (n, 3, d) of the fused projection as (3, n, d); other tensors as they are."""
    if "query_key_value" not in name:
        return tensor
    return tensor.unflatten(0, (heads, 3, -1)).transpose(0, 1).flatten(0, 2).contiguous()


def _by_head(name: str, tensor: Tensor, heads: int) -> Tensor:
    if "query_key_value" not in name:
        return tensor
    return tensor.unflatten(0, (3, heads, -1)).transpose(0, 1).flatten(0, 2).contiguous()


def _write_tokenizer(writer: Any, model: LanguageModel) -> None:
    import gguf

    tokenizer = model.tokenizer
    stored = tokenizer.to_json()["model"]
    if stored.get("type") != "BPE":
        raise ArtifactError(f"a {stored.get('type')} tokenizer in GGUF", allowed="byte-level BPE")
    special = set(tokenizer.special_ids())
    tokens, kinds = [], []
    for index in range(model.network.config.vocab_size):
        token = tokenizer.token(index)
        kind = gguf.TokenType.CONTROL if index in special else gguf.TokenType.NORMAL
        tokens.append(f"[PAD{index}]" if token is None else token)
        kinds.append(gguf.TokenType.UNUSED if token is None else kind)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in stored["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("bloom")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    for role in ("bos", "eos", "unk", "pad"):
        index = getattr(tokenizer, f"{role}_id")
        if index is not None:
            getattr(writer, f"add_{role}_token_id")(index)
    writer.add_add_bos_token(False)


def _reader(path: Path, config: Any) -> Callable[[Tensor, Tensor], np.ndarray]:
    """The file's tensors, read again by the gguf package, in a network of ours."""
    import gguf

    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(str(path)).tensors}
    network = build_network(family("bloom").write_config(config)).eval()
    state = {}
    for name in network.state_dict():
        stored = tensors[_stored_name(name)]
        array = gguf.quants.dequantize(stored.data, stored.tensor_type)
        state[name] = _by_head(name, torch.from_numpy(np.array(array, dtype=np.float32)), config.num_heads)
    network.load_state_dict(state)
    return lambda ids, mask: network(ids, attention_mask=mask).numpy()


def _llama(path: Path, longest: int) -> Callable[[Tensor, Tensor], np.ndarray] | None:
    """llama.cpp's own logits, or None where it is not installed."""
    try:
        import llama_cpp
    except ModuleNotFoundError:
        return None
    settings = {"type_k": llama_cpp.GGML_TYPE_F32, "type_v": llama_cpp.GGML_TYPE_F32, "verbose": False}
    llama = llama_cpp.Llama(str(path), n_ctx=min(longest, 512), logits_all=True, **settings)

    def read(ids: Tensor, mask: Tensor) -> np.ndarray:
        rows = []
        for row in ids.tolist():
            llama.reset()
            llama.eval(row)
            rows.append(np.array(llama.scores[: len(row)]))
        return np.stack(rows)

    return read
