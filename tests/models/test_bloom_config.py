"""BloomConfig: published shapes, both spellings of config.json, errors."""

from __future__ import annotations

import pytest

from hortus.errors import ConfigError
from hortus.models.bloom import PUBLISHED, Bloom, BloomConfig, published


@pytest.mark.parametrize(
    ("name", "layers", "width", "heads", "parameters", "embedding"),
    [
        ("560m", 24, 1024, 16, 559_214_592, 256_901_120),
        ("1b1", 24, 1536, 16, 1_065_314_304, 385_351_680),
        ("1b7", 24, 2048, 16, 1_722_408_960, 513_802_240),
        ("3b", 30, 2560, 32, 3_002_557_440, 642_252_800),
        ("7b1", 30, 4096, 32, 7_069_016_064, 1_027_604_480),
        ("176b", 70, 14336, 112, 176_247_271_424, 3_596_615_680),
    ],
)
def test_published_shapes_count_as_released(
    name: str, layers: int, width: int, heads: int, parameters: int, embedding: int
) -> None:
    config = published(name)
    assert (config.num_layers, config.hidden_size, config.num_heads) == (layers, width, heads)
    assert config.num_parameters == parameters
    assert config.num_embedding_parameters == embedding
    assert config.initial_deviation == 0.0048


def test_every_release_is_named() -> None:
    assert list(PUBLISHED) == ["560m", "1b1", "1b7", "3b", "7b1", "176b"]
    with pytest.raises(ConfigError, match="did you mean '560m'"):
        published("560M")


def test_formula_counts_what_the_network_holds() -> None:
    config = BloomConfig(vocab_size=50, hidden_size=24, num_layers=3, num_heads=6)
    assert sum(p.numel() for p in Bloom(config).parameters()) == config.num_parameters


@pytest.mark.parametrize(
    "spelling",
    [
        {"hidden_size": 32, "n_layer": 2, "n_head": 4},
        {"n_embed": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
        {"n_embed": 32, "hidden_size": 32, "n_layer": 2, "num_attention_heads": 4, "n_head": 4},
    ],
)
def test_either_spelling_is_read(spelling: dict[str, int]) -> None:
    config = BloomConfig.from_hugging_face({"model_type": "bloom", "vocab_size": 7} | spelling)
    assert (config.vocab_size, config.hidden_size, config.num_layers, config.num_heads) == (7, 32, 2, 4)


def test_old_files_keys_are_ignored() -> None:
    old = {
        "seq_length": 2048,
        "skip_bias_add": True,
        "skip_bias_add_qkv": False,
        "offset_alibi": 100,
        "unk_token_id": 0,
        "attention_softmax_in_fp32": True,
        "masked_softmax_fusion": True,
        "bias_dropout_fusion": True,
        "torch_dtype": "float16",
        "n_inner": None,
    }
    sizes = {"vocab_size": 7, "hidden_size": 8, "n_layer": 1, "n_head": 2}
    assert BloomConfig.from_hugging_face(sizes | old) == BloomConfig.from_hugging_face(sizes)


def test_config_json_round_trip_keeps_every_field() -> None:
    config = BloomConfig(
        vocab_size=9,
        hidden_size=12,
        num_layers=5,
        num_heads=3,
        layer_norm_epsilon=1e-6,
        initializer_range=0.01,
        apply_residual_connection_post_layernorm=True,
        hidden_dropout=0.1,
        attention_dropout=0.2,
        bos_token_id=4,
        eos_token_id=5,
        pad_token_id=None,
        pretraining_tp=2,
        slow_but_exact=True,
    )
    assert BloomConfig.from_hugging_face(config.to_hugging_face()) == config


def test_deviation_follows_the_width_when_not_given() -> None:
    assert BloomConfig(hidden_size=14336, num_heads=112).initial_deviation == pytest.approx(0.0048, abs=3e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_heads": 7, "hidden_size": 768}, "num_heads=7 does not divide hidden_size=768.*6"),
        ({"num_layers": 0}, "num_layers=0"),
        ({"hidden_dropout": 1.0}, "hidden_dropout=1.0"),
        ({"attention_dropout": -0.1}, "attention_dropout=-0.1"),
    ],
)
def test_impossible_shapes_are_named(change: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        BloomConfig(**change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_embed": 16}, "hidden_size=8 and n_embed=16 disagree"),
        ({"model_type": "gpt2"}, "gpt2"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings"),
        ({"n_head": None}, "n_head"),
    ],
)
def test_wrong_files_are_named(change: dict[str, object], words: str) -> None:
    sizes = {"vocab_size": 7, "hidden_size": 8, "n_layer": 1, "n_head": 2}
    with pytest.raises(ConfigError, match=words):
        BloomConfig.from_hugging_face(sizes | change)
