"""Dense retrieval: against the formula, resumed, refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hortus.artifact import write_json
from hortus.errors import ArtifactError, ConfigError
from hortus.language import LanguageModel
from hortus.models import build_network
from hortus.retrieval import (
    Bm25Config,
    Bm25Index,
    DenseConfig,
    DenseIndex,
    Passage,
    build_bm25,
    build_dense,
    open_index,
)
from hortus.retrieval import dense as module
from hortus.tokenizer import TokenizerConfig, train_tokenizer

WORDS = ["snow", "coal", "river", "tower", "garden", "mirror"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    tokenizer = train_tokenizer(WORDS * 5, TokenizerConfig(vocab_size=280))
    shape = {"hidden_size": 16, "n_layer": 1, "n_head": 2, "vocab_size": tokenizer.vocab_size}
    folder = tmp_path_factory.mktemp("encoder")
    LanguageModel(build_network({"model_type": "bloom", **shape}), tokenizer).save(folder)
    return folder


def corpus() -> list[Passage]:
    draw = np.random.default_rng(0)
    return [Passage(str(n), "", " ".join(draw.choice(WORDS, 6))) for n in range(40)]


def test_nearest_by_cosine(encoder: Path, tmp_path: Path) -> None:
    config = DenseConfig(encoder=str(encoder), passage_prefix="snow ", exact=True)
    index = build_dense(corpus(), tmp_path, config)
    model = LanguageModel.load(encoder)
    vectors = model.embed(["snow " + one.text for one in corpus()])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for question in ("coal river", "mirror"):
        own = model.embed(question)
        cosines = vectors @ (own / np.linalg.norm(own))
        (hits,) = index.search([question], 5)
        assert [hit.score for hit in hits] == pytest.approx(np.sort(cosines)[::-1][:5], abs=1e-5)
        assert [cosines[int(hit.passage.id)] for hit in hits] == pytest.approx(
            [h.score for h in hits], abs=1e-5
        )
    assert isinstance(open_index(tmp_path), DenseIndex)


def test_a_build_goes_on(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PART", 8)
    config = DenseConfig(encoder=str(encoder))
    embed, calls = LanguageModel.embed, []

    def failing(self: LanguageModel, texts: list[str], **more: bool) -> np.ndarray:
        calls.append(len(texts))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return embed(self, texts, **more)

    monkeypatch.setattr(LanguageModel, "embed", failing)
    with pytest.raises(KeyboardInterrupt):
        build_dense(corpus(), tmp_path / "a", config)
    build_dense(corpus(), tmp_path / "a", config)
    assert calls == [8] * 6  # three parts, the one that failed, and the two that were left
    assert not (tmp_path / "a" / "parts").exists()


def test_folders_that_do_not_fit(encoder: Path, tmp_path: Path) -> None:
    build_bm25(corpus(), tmp_path / "words", Bm25Config(processes=1))
    assert isinstance(open_index(tmp_path / "words"), Bm25Index)
    with pytest.raises(ArtifactError, match="kind 'bm25'"):
        DenseIndex(tmp_path / "words")
    index = build_dense(corpus(), tmp_path / "dense", DenseConfig(encoder=str(encoder)))
    with pytest.raises(ConfigError, match="k=0"):
        index.search(["snow"], 0)
    (tmp_path / "dense" / "vectors.usearch").write_bytes(b"broken")
    with pytest.raises(ArtifactError):
        DenseIndex(tmp_path / "dense")


def test_another_pooling_is_refused(encoder: Path, tmp_path: Path) -> None:
    import shutil

    folder = shutil.copytree(encoder, tmp_path / "cls")
    (folder / "1_Pooling").mkdir()
    write_json(folder / "1_Pooling" / "config.json", {"pooling_mode_cls_token": True})
    with pytest.raises(ConfigError, match="mean"):
        build_dense(corpus(), tmp_path / "a", DenseConfig(encoder=str(folder)))
