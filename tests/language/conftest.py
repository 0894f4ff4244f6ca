from collections.abc import Callable

import pytest
import torch

from hortus.language import LanguageModel
from hortus.models.bloom import Bloom, BloomConfig
from hortus.tokenizer import Tokenizer, TokenizerConfig, train_tokenizer

TEXT = "The quick brown fox jumps over the lazy dog… é 敏捷的棕色狐狸. def f(x): return x\n"


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_tokenizer([TEXT] * 9, TokenizerConfig(vocab_size=320))


@pytest.fixture(scope="session")
def make_model(tokenizer: Tokenizer) -> Callable[..., LanguageModel]:
    def make(max_length: int | None = None, **shape: int) -> LanguageModel:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        sizes = {
            "vocab_size": tokenizer.vocab_size,
            "hidden_size": 48,
            "num_layers": 2,
            "num_heads": 3,
        } | shape
        # A large deviation, so that random weights prefer some tokens clearly.
        network = Bloom(BloomConfig(initializer_range=0.4, **sizes))
        return LanguageModel(network, tokenizer, max_length=max_length)

    return make


@pytest.fixture(scope="session")
def model(make_model: Callable[..., LanguageModel]) -> LanguageModel:
    return make_model()
