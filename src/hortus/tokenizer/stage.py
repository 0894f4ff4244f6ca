"""The recipe stage `tokenizer`: train on the corpus stage's documents, measure on its held-out ones."""

from __future__ import annotations

from hortus.recipe import Stage, StageContext, StageResult
from hortus.tokenizer.config import TokenizerConfig
from hortus.tokenizer.documents import documents_file, held_out_texts, training_texts
from hortus.tokenizer.report import compare_monolingual, fit_table, measure
from hortus.tokenizer.train import train_tokenizer

__all__ = ["STAGE"]


def run(config: TokenizerConfig, context: StageContext) -> StageResult:
    """Train, save to the stage's folder, and report fertility by language."""
    path = documents_file(context.inputs["corpus"])
    training = training_texts(path, config)
    tokenizer = train_tokenizer((text for texts in training.values() for text in texts), config)
    tokenizer.save(context.folder)

    held_out = held_out_texts(path, config)
    fits = measure(tokenizer, held_out)
    if config.monolingual_check:
        fits = compare_monolingual(fits, training, held_out, config)
    tokens, size = sum(fit.tokens for fit in fits), sum(fit.num_bytes for fit in fits)
    compared = [fit for fit in fits if fit.accepted is not None]
    numbers = {
        "vocab_size": tokenizer.vocab_size,
        "bytes_per_token": size / tokens if tokens else None,
        "fertility": {fit.language: fit.fertility for fit in fits},
        "languages_compared": len(compared),
        "languages_accepted": sum(bool(fit.accepted) for fit in compared),
    }
    return StageResult(numbers=numbers, blocks=[fit_table(fits)])


STAGE = Stage(TokenizerConfig, run, needs=("corpus",))
