import pytest

from hortus.tokenizer import Tokenizer, TokenizerConfig, train_tokenizer

SENTENCES = {
    "en": "The quick brown fox jumps over the lazy dog, and the dog does not mind. ",
    "fr": "Le renard brun saute par-dessus le chien paresseux… n'est-ce pas ? ",
    "ar": "الثعلب البني السريع يقفز فوق الكلب الكسول، أليس كذلك؟ ",
    "zh": "敏捷的棕色狐狸跳过懒狗。它不介意，是吗？",
    "code": "def f(x):\n    return {'x': x + 1, 'y': [x, 2]}\n",
}


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    texts = [text * 3 for text in SENTENCES.values() for _ in range(3)]
    return train_tokenizer(texts, TokenizerConfig(vocab_size=450))
