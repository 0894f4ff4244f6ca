"""Settings of tokenizer training and of its report."""

from __future__ import annotations

from dataclasses import dataclass

from hortus.errors import ConfigError

__all__ = ["NUM_BYTES", "SPECIAL_TOKENS", "TokenizerConfig"]

# In id order: <unk> is 0, <s> 1, </s> 2, <pad> 3, as every BLOOM checkpoint has them.
SPECIAL_TOKENS = ("<unk>", "<s>", "</s>", "<pad>")
NUM_BYTES = 256


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """How a tokenizer is trained (reference: BLOOM, section 3.2) and judged.

    vocab_size: entries including the 256 bytes and the four special tokens. Small data may yield fewer.
    min_frequency: a pair seen less often than this is not merged.
    max_training_bytes: UTF-8 bytes of training text, shared over languages.
    alpha: exponent of the shares over languages, share proportional to size^alpha.
    code_share: the largest share of the training text that the language "code" may take.
    monolingual_check: train one tokenizer a language on the same text, for the accept rule.
    monolingual_vocab_share: vocabulary of such a tokenizer as a share of `vocab_size`. The monolingual
        tokenizers that the paper compared with held about a fifth of the multilingual vocabulary.
    monolingual_floor_bytes: languages with less training text than this are not compared.
    report_bytes: held-out text measured per language.
    """

    vocab_size: int = 16_384
    min_frequency: int = 2
    max_training_bytes: int = 50_000_000
    alpha: float = 0.3
    code_share: float = 0.5
    monolingual_check: bool = True
    monolingual_vocab_share: float = 0.2
    monolingual_floor_bytes: int = 100_000
    report_bytes: int = 500_000

    def __post_init__(self) -> None:
        smallest = NUM_BYTES + len(SPECIAL_TOKENS)
        if self.vocab_size < smallest:
            raise ConfigError(
                f"vocab_size={self.vocab_size} is too small for byte-level BPE",
                allowed=f"{smallest} (256 bytes and {len(SPECIAL_TOKENS)} special tokens) or more",
                do="set tokenizer.vocab_size to, say, 16384",
            )
        if self.min_frequency < 1 or self.max_training_bytes < 1 or self.report_bytes < 1:
            raise ConfigError(
                f"min_frequency={self.min_frequency}, max_training_bytes={self.max_training_bytes}, "
                f"report_bytes={self.report_bytes}",
                allowed="1 or more for each",
            )
        for name in ("alpha", "code_share", "monolingual_vocab_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}={getattr(self, name)}", allowed="0 to 1")
