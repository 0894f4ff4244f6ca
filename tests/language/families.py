"""Tiny models of the encoder and encoder-decoder families, with tokenizers of their own kinds."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer as Core
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from hortus.language import LanguageModel
from hortus.models import build_network
from hortus.tokenizer import Tokenizer

TEXT = [
    "the quick brown fox jumps over the lazy dog",
    "a good film is fun, a bad film is dull",
    "who jumps over the dog? the fox does",
    "paris is the capital of france and rome is the capital of italy",
]


def wordpiece() -> Tokenizer:
    """BERT's kind: lower case, WordPiece, framed by [CLS] and [SEP]."""
    core = Core(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    core.train_from_iterator(TEXT, trainers.WordPieceTrainer(vocab_size=120, special_tokens=special))
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return Tokenizer(core)


def unigram() -> Tokenizer:
    """T5's kind: Unigram over words that begin with a mark, ended by </s>."""
    core = Core(models.Unigram())
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=90, special_tokens=["<pad>", "</s>", "<unk>", "<extra_id_0>"], unk_token="<unk>"
    )
    core.train_from_iterator(TEXT, trainer)
    core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return Tokenizer(core)


def t5(**changes: Any) -> LanguageModel:
    tokenizer = unigram()
    torch.manual_seed(0)
    shape = {
        "model_type": "t5",
        "vocab_size": tokenizer.vocab_size + 6,
        "d_model": 24,
        "d_kv": 6,
        "d_ff": 40,
        "num_layers": 2,
        "num_heads": 3,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "decoder_start_token_id": 0,
        "initializer_factor": 0.5,
    }
    return LanguageModel(build_network(shape | changes), tokenizer, max_length=64)


def encoder(kind: str, head: str = "ForMaskedLM", **changes: Any) -> LanguageModel:
    tokenizer = wordpiece()
    torch.manual_seed(0)
    names = (
        ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        if kind == "bert"
        else ("dim", "n_layers", "n_heads", "hidden_dim")
    )
    shape: dict[str, Any] = dict(zip(names, (24, 2, 3, 40), strict=True))
    shape |= {
        "model_type": kind,
        "architectures": [{"bert": "Bert", "distilbert": "DistilBert"}[kind] + head],
        "vocab_size": tokenizer.vocab_size,
        "max_position_embeddings": 48,
        "initializer_range": 0.3,
    }
    return LanguageModel(build_network(shape | changes), tokenizer)
