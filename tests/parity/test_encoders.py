"""BERT and DistilBERT against a plain NumPy statement and against transformers."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hortus.errors import ArtifactError, ConfigError, DataError
from hortus.models import build_network, load_network, save_network
from hortus.models.bert import Bert, BertConfig
from hortus.models.distilbert import DistilBert, DistilBertConfig

from .checkpoints import close, disturbed, opened_silently, padded_batch

FAMILIES = ["bert", "distilbert"]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def random_config(kind: str, seed: int) -> dict[str, Any]:
    """Ten seeds: heads 1 to 16, depths 1 to 4, all activations, sinusoidal positions at odd seeds."""
    draw = random.Random(seed)
    heads = [1, 2, 3, 4, 5, 6, 7, 8, 12, 16][seed]
    width, depth, inner = heads * draw.choice([4, 8]), draw.randint(1, 4), draw.choice([20, 33, 64])
    sizes = {"vocab_size": draw.randint(30, 200), "max_position_embeddings": 96, "initializer_range": 0.2}
    act = draw.choice(["gelu", "relu", "gelu_new"])
    if kind == "bert":
        return sizes | {
            "hidden_size": width,
            "num_hidden_layers": depth,
            "num_attention_heads": heads,
            "intermediate_size": inner,
            "hidden_act": act,
            "type_vocab_size": draw.choice([1, 2, 3]),
            "layer_norm_eps": draw.choice([1e-12, 1e-5]),
        }
    return sizes | {
        "dim": width,
        "n_layers": depth,
        "n_heads": heads,
        "hidden_dim": inner,
        "activation": act if act != "gelu_new" else "gelu",
        "sinusoidal_pos_embds": bool(seed % 2),
    }


def peer_network(kind: str, seed: int, head: str = "ForMaskedLM", **more: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    prefix = {"bert": "Bert", "distilbert": "DistilBert"}[kind]
    torch.manual_seed(seed)
    config = getattr(transformers, f"{prefix}Config")(**random_config(kind, seed), **more)
    return disturbed(getattr(transformers, prefix + head)(config))


def numpy_states(network: Any, ids: np.ndarray, epsilon: float) -> np.ndarray:
    """The forward pass of one text, (T,) -> (T, D), written down from the papers."""
    state = {name: x.detach().double().numpy() for name, x in network.state_dict().items()}
    heads, size = network.config.num_heads, network.config.head_size

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def attention(x: np.ndarray, name: str) -> np.ndarray:
        query, key, value = (linear(x, f"{name}.{part}") for part in ("query", "key", "value"))
        context = []
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            scores = query[:, part] @ key[:, part].T / math.sqrt(size)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            context.append(weights / weights.sum(-1, keepdims=True) @ value[:, part])
        return linear(np.concatenate(context, -1), f"{name}.output")

    states = state["embedding.weight"][ids] + state["position_embedding.weight"][: len(ids)]
    if "token_type_embedding.weight" in state:
        states = states + state["token_type_embedding.weight"][0]
    states = norm(states, "embedding_norm")
    for layer in range(network.config.num_layers):
        name = f"blocks.{layer}"
        states = norm(states + attention(states, f"{name}.attention"), f"{name}.attention_norm")
        wide = linear(states, f"{name}.expand")
        wide = 0.5 * wide * (1 + np.vectorize(math.erf)(wide / math.sqrt(2)))
        states = norm(states + linear(wide, f"{name}.contract"), f"{name}.output_norm")
    return states


@pytest.mark.parametrize("kind", FAMILIES)
def test_numpy_statement(kind: str) -> None:
    torch.manual_seed(0)
    shape = {"vocab_size": 30, "hidden_size": 24, "num_layers": 2, "num_heads": 3, "intermediate_size": 40}
    network: Any = Bert(BertConfig(**shape)) if kind == "bert" else DistilBert(DistilBertConfig(**shape))
    ids = torch.randint(0, 30, (21,))
    expected = numpy_states(disturbed(network), ids.numpy(), 1e-12)
    np.testing.assert_allclose(network.hidden(ids[None])[0].detach().numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", FAMILIES)
def test_checkpoints_of_transformers_open_here(kind: str, seed: int, tmp_path: Path) -> None:
    peer = peer_network(kind, seed)
    peer.save_pretrained(tmp_path, max_shard_size="5KB" if seed % 3 == 0 else "1GB")
    ours = load_network(tmp_path)
    ids, mask = padded_batch(peer.config.vocab_size, seed)
    with torch.no_grad():
        expected, got = peer(ids, attention_mask=mask).logits, ours(ids, mask)
        close(got[mask.bool()], expected[mask.bool()])
        close(ours(ids), peer(ids).logits)
        if kind == "bert":
            types = torch.randint(0, peer.config.type_vocab_size, ids.shape)
            close(ours(ids, token_type_ids=types), peer(ids, token_type_ids=types).logits)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", FAMILIES)
def test_our_checkpoints_open_in_transformers_without_a_warning(
    kind: str, seed: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(seed)
    ours: Any = disturbed(build_network({"model_type": kind} | random_config(kind, seed)))
    save_network(ours, tmp_path / "model", max_shard_bytes=10**9 if seed % 2 else 4000)
    peer = opened_silently("AutoModelForMaskedLM", tmp_path / "model", caplog)
    ids, mask = padded_batch(peer.config.vocab_size, seed)
    with torch.no_grad():
        expected, got = peer(ids, attention_mask=mask).logits, ours(ids, mask)
    close(got[mask.bool()], expected[mask.bool()])


@pytest.mark.parametrize("head", ["ForSequenceClassification", "ForQuestionAnswering", "Model"])
@pytest.mark.parametrize("kind", FAMILIES)
def test_heads_both_ways(kind: str, head: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = {0: "no", 1: "yes", 2: "perhaps"}
    labels = {"id2label": names, "label2id": {name: index for index, name in names.items()}}
    peer = peer_network(kind, 3, head, **(labels if head == "ForSequenceClassification" else {}))
    peer.save_pretrained(tmp_path / "theirs")
    ours: Any = load_network(tmp_path / "theirs")
    save_network(ours, tmp_path / "ours")
    again = opened_silently("AutoModel" + head.removeprefix("Model"), tmp_path / "ours", caplog)
    ids, mask = padded_batch(peer.config.vocab_size, 0)
    for network in (peer, again):
        with torch.no_grad():
            got, expected = ours(ids, mask), network(ids, attention_mask=mask)
        if head == "ForSequenceClassification":
            assert ours.config.labels == ("no", "yes", "perhaps") and network.config.id2label == names
            close(got, expected.logits)
        elif head == "Model":
            close(got[mask.bool()], expected.last_hidden_state[mask.bool()])
        else:
            both = torch.stack([expected.start_logits, expected.end_logits], -1)
            close(got[mask.bool()], both[mask.bool()])


def rewrite(folder: Path, change: Any) -> None:
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def test_gamma_and_beta_of_old_files(tmp_path: Path) -> None:
    peer = peer_network("bert", 2)
    peer.save_pretrained(tmp_path)
    ids, _ = padded_batch(peer.config.vocab_size, 0)
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

    def renamed(name: str) -> str:
        for new, former in old.items():
            name = name.replace(new, former)
        return name

    rewrite(tmp_path, lambda state: {renamed(name): tensor for name, tensor in state.items()})
    close(load_network(tmp_path)(ids), peer(ids).logits)


def test_a_published_pretraining_file_opens(tmp_path: Path) -> None:
    """As bert-base-uncased: pooler and next-sentence head in the file, position_ids of older versions."""
    peer = peer_network("bert", 2, "ForPreTraining")
    peer.save_pretrained(tmp_path)
    extra = {"bert.embeddings.position_ids": torch.arange(96)[None]}
    rewrite(tmp_path, lambda state: state | extra)
    ours: Any = load_network(tmp_path)
    ids, _ = padded_batch(peer.config.vocab_size, 0)
    close(ours(ids), peer(ids).prediction_logits)
    assert ours.config.pooler and torch.equal(ours.pooler.weight, peer.bert.pooler.dense.weight)


@pytest.mark.parametrize("kind", FAMILIES)
def test_half_precision_files(kind: str, tmp_path: Path) -> None:
    peer = peer_network(kind, 4)
    peer.half().save_pretrained(tmp_path)
    assert {p.dtype for p in load_network(tmp_path).parameters()} == {torch.float16}
    ids, _ = padded_batch(peer.config.vocab_size, 0)
    close(load_network(tmp_path, dtype=torch.float32)(ids), peer.float()(ids).logits)


@pytest.mark.parametrize("kind", FAMILIES)
def test_renamed_missing_and_extra_tensors_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    peer_network(kind, 1).save_pretrained(tmp_path)
    name = next(name for name in load_file(tmp_path / "model.safetensors") if "position_embeddings" in name)
    rewrite(tmp_path, lambda state: {("x" if key == name else key): x for key, x in state.items()})
    with pytest.raises(ArtifactError, match="missing embeddings.position_embeddings.weight; extra x"):
        load_network(tmp_path)


def test_what_is_not_known_is_named() -> None:
    base = {"model_type": "bert", **random_config("bert", 0)}
    for change, message in (
        ({"architectures": ["BertForTokenClassification"]}, "BertForTokenClassification.*BertForMaskedLM"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
        ({"is_decoder": True}, "decoder"),
        ({"hidden_act": "gelo"}, "'gelo'.*'gelu'"),
        ({"num_attention_heads": 3, "hidden_size": 16}, "does not divide"),
        ({"id2label": {"a": "b"}}, "id2label"),
    ):
        with pytest.raises(ConfigError, match=message):
            build_network(base | change)
    network = build_network(base)
    with pytest.raises(DataError, match="97 tokens; allowed: 96"):
        network(torch.zeros(1, 97, dtype=torch.long))
    with pytest.raises(DataError, match="attention_mask"):
        network(torch.zeros(1, 7, dtype=torch.long), torch.ones(1, 6))


def test_counts_of_the_releases() -> None:
    assert BertConfig(head="none").num_parameters == 108_891_648
    assert BertConfig(head="none", pooler=True).num_parameters == 109_482_240
    assert DistilBertConfig(head="none").num_parameters == 66_362_880
    assert DistilBertConfig().num_parameters == 66_985_530
