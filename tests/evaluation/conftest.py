"""A small model with opinions, and prompted rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from hortus.language import LanguageModel
from hortus.models.bloom import Bloom, BloomConfig
from hortus.prompts import DatasetConfig, Metadata, TaskConfig, Template, TemplateSet
from hortus.tokenizer import TokenizerConfig, train_tokenizer

TEXT = "The quick brown fox jumps over the lazy dog. Yes, no, maybe: is it so? é 狐狸\n"


def make_model(seed: int = 0) -> LanguageModel:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    tokenizer = train_tokenizer([TEXT] * 9, TokenizerConfig(vocab_size=320))
    # A large deviation, so that random weights prefer some tokens clearly.
    sizes = {"hidden_size": 32, "num_layers": 2, "num_heads": 2}
    network = Bloom(BloomConfig(vocab_size=tokenizer.vocab_size, initializer_range=0.4, **sizes))
    return LanguageModel(network, tokenizer)


@pytest.fixture(scope="session")
def model() -> LanguageModel:
    return make_model()


@pytest.fixture
def prompted(tmp_path: Path) -> TaskConfig:
    rows = [{"text": f"fox {n} jumps", "label": n % 2} for n in range(12)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    templates = [
        Template("plain", "{{ text }}? ||| {{ answer_choices[label] }}", "no ||| yes", id="1"),
        Template(
            "some",
            "{% if label %}Is it {{ text }} ||| {{ answer_choices[label] }}{% endif %}",
            "no ||| yes",
            id="2",
        ),
        Template(
            "write", "Copy: {{ text }} ||| {{ text }}", metadata=Metadata(metrics=("BLEU", "Squad")), id="3"
        ),
    ]
    TemplateSet("foxes", templates=templates).save(tmp_path / "templates.yaml")
    data = DatasetConfig(source=str(tmp_path / "rows.jsonl"))
    return TaskConfig(name="foxes", data=data, templates=str(tmp_path / "templates.yaml"), cluster="animals")
