"""The recipe stage `encoder`: texts in, a WordPiece tokenizer and a small pretrained BERT out.

FOLDER/texts.jsonl      what it was trained on: the corpus stage's documents in pieces, the tasks' texts
FOLDER/fresh            the same network with its first weights
FOLDER/model            the pretrained one
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import torch
from tokenizers import Tokenizer as Core
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from hortus.artifact import ModelCard
from hortus.errors import DataError
from hortus.models import build_network, save_network
from hortus.objectives.encoder_config import EncoderPretrainConfig
from hortus.objectives.finetune import finetune
from hortus.objectives.labelled import write_lines
from hortus.prompts.rows import open_file
from hortus.recipe import Stage, StageContext, StageResult
from hortus.report import Block, Curves, Table
from hortus.tokenizer import Tokenizer

__all__ = ["STAGE", "train_wordpiece"]

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def train_wordpiece(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """BERT's kind of tokenizer: lower case, words and pieces of words, framed by [CLS] and [SEP].

    >>> train_wordpiece(["to be or not to be"] * 9, 60).token_id("[MASK]")
    4
    """
    core = Core(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=list(_SPECIAL), show_progress=False
    )
    core.train_from_iterator(texts, trainer)
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    named = {f"{role}_token": f"[{role.upper()}]" for role in ("pad", "unk", "cls", "sep", "mask")}
    return Tokenizer(core, named | {"tokenizer_class": "BertTokenizerFast", "do_lower_case": True})


def run(config: EncoderPretrainConfig, context: StageContext) -> StageResult:
    """Train tokenizer and network."""
    texts = list(_texts(config, context.inputs.get("corpus"), context.inputs.get("labelled")))
    if not texts:
        raise DataError("there are no texts", do="put a stage `corpus` or `labelled` before this one")
    write_lines(({"text": text} for text in texts), context.folder / "texts.jsonl")
    tokenizer = train_wordpiece(texts, config.vocab_size)
    torch.manual_seed(config.seed)
    network: Any = build_network(_shape(config, tokenizer))
    card = ModelCard(name=config.name or "bert", languages=config.languages, data=f"{len(texts):,} texts.")
    save_network(network, context.folder / "fresh", card, extra=tokenizer.save)
    result, _ = finetune(
        context.folder / "fresh",
        "lm",
        context.folder / "texts.jsonl",
        context.folder,
        config,
        resume=context.resume,
    )
    numbers = {
        "parameters": network.config.num_parameters,
        "vocabulary": tokenizer.vocab_size,
        "texts": len(texts),
        "steps": result.steps,
        "validation_loss": (result.best or {}).get("validation_loss"),
        "restored": (result.best or {}).get("validation_restored"),
        "model": str(context.folder / "model"),
    }
    curve = [(r["step"], r["validation_loss"]) for r in result.history if "validation_loss" in r]
    series = {"validation": ([step for step, _ in curve], [loss for _, loss in curve])}
    blocks: list[Block] = [
        Table("The encoder", ["what", "value"], [[name, value] for name, value in numbers.items()]),
        Curves("Loss at hidden words", "step", "nats a word", series),
    ]
    stopped = f"stopped by {result.stopped} at step {result.steps}" if result.interrupted else None
    return StageResult(numbers, blocks, stopped)


def _shape(config: EncoderPretrainConfig, tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "model_type": "bert",
        "vocab_size": tokenizer.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": 4 * config.hidden_size,
        "max_position_embeddings": config.max_length or 128,
    }


def _texts(config: EncoderPretrainConfig, corpus: Path | None, labelled: Path | None) -> Iterator[str]:
    if corpus is not None:
        filters = [("split", "==", "train"), ("language", "in", config.languages)]
        table = parquet.read_table(
            corpus / "documents.parquet", columns=["text", "language"], filters=filters
        )
        left = config.most_corpus_bytes
        for document in table["text"].to_pylist():
            for piece in _pieces(document, config.piece_characters):
                if left is not None:
                    left -= len(piece.encode())
                    if left < 0:
                        break
                yield piece
    if labelled is not None:
        rows = open_file(labelled / "texts.jsonl", "utf-8", ())
        yield from (rows.row(index)["text"] for index in range(len(rows)))


def _pieces(document: str, size: int) -> Iterator[str]:
    """Whole lines up to about `size` characters together; a longer line alone."""
    piece = ""
    for line in document.splitlines():
        line = line.strip()
        if piece and len(piece) + len(line) > size:
            yield piece
            piece = ""
        piece = f"{piece} {line}".strip()
    if piece:
        yield piece


STAGE = Stage(EncoderPretrainConfig, run, uses=("corpus", "labelled"))
