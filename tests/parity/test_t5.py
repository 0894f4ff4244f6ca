"""T5 against a plain NumPy statement and against transformers."""

from __future__ import annotations

import json
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
from hortus.models.layers.relative_position import relative_position_buckets
from hortus.models.t5 import PUBLISHED, T5, T5Config, published

from .checkpoints import close, opened_silently, padded_batch


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def random_config(seed: int) -> dict[str, Any]:
    """Ten seeds: odd ones are version 1.1; d_kv is never d_model/heads, decoders are deeper or shallower."""
    draw = random.Random(seed)
    return {
        "vocab_size": draw.randint(30, 200),
        "d_model": [16, 20, 24, 28, 32, 36, 40, 44, 48, 52][seed],
        "d_kv": draw.choice([3, 5, 6, 10]),
        "d_ff": draw.choice([20, 33, 64]),
        "num_layers": draw.randint(1, 3),
        "num_decoder_layers": draw.randint(1, 3),
        "num_heads": draw.randint(1, 5),
        "relative_attention_num_buckets": draw.choice([8, 32]),
        "relative_attention_max_distance": draw.choice([40, 128]),
        "feed_forward_proj": "gated-gelu" if seed % 2 else "relu",
        "tie_word_embeddings": not seed % 2,
        "initializer_factor": 0.4,
        "decoder_start_token_id": 0,
    }


def peer_network(seed: int) -> Any:
    """Version 1.1 has a head of its own, which transformers' constructor would tie."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    peer = transformers.T5ForConditionalGeneration(transformers.T5Config(**random_config(seed)))
    with torch.no_grad():
        for name, parameter in peer.named_parameters():
            if "layer_norm" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    if seed % 2:
        peer.lm_head.weight = torch.nn.Parameter(torch.randn_like(peer.lm_head.weight))
    return peer.eval()


def numpy_logits(network: T5, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """T5's forward pass for one pair, (S,), (T,) -> (T, V), written down from the paper."""
    config = network.config
    state = {name: x.detach().double().numpy() for name, x in network.state_dict().items()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        mean_square = (x**2).mean(-1, keepdims=True)
        return x / np.sqrt(mean_square + config.layer_norm_epsilon) * state[f"{name}.weight"]

    def bucket(distance: int, two_sided: bool) -> int:
        start, total = 0, config.num_buckets
        if two_sided:
            total //= 2
            start, distance = (total if distance > 0 else 0), abs(distance)
        else:
            distance = max(-distance, 0)
        exact = total // 2
        if distance < exact:
            return start + distance
        grown = exact + int(
            math.log(distance / exact) / math.log(config.max_distance / exact) * (total - exact) + 1e-9
        )
        return start + min(total - 1, grown)

    def attention(x: np.ndarray, y: np.ndarray, name: str, table: str | None, causal: bool) -> np.ndarray:
        query, keys, value = (
            (z @ state[f"{name}.{part}.weight"].T).reshape(len(z), config.num_heads, -1)
            for z, part in ((x, "query"), (y, "key"), (y, "value"))
        )
        context = np.empty_like(query)
        for head in range(config.num_heads):
            scores = query[:, head] @ keys[:, head].T
            if table:
                scores += [
                    [state[table][bucket(j - i, not causal), head] for j in range(len(y))]
                    for i in range(len(x))
                ]
            if causal:
                scores[np.triu_indices(len(x), 1)] = -np.inf
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            context[:, head] = weights / weights.sum(-1, keepdims=True) @ value[:, head]
        return context.reshape(len(x), -1) @ state[f"{name}.output.weight"].T

    def feed_forward(x: np.ndarray, name: str) -> np.ndarray:
        if not config.gated:
            wide = np.maximum(x @ state[f"{name}.expand.weight"].T, 0)
        else:
            wide = x @ state[f"{name}.gate.weight"].T
            wide = 0.5 * wide * (1 + np.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)))
            wide = wide * (x @ state[f"{name}.linear.weight"].T)
        return wide @ state[f"{name}.contract.weight"].T

    def stack(kind: str, ids: np.ndarray, encoded: np.ndarray | None) -> np.ndarray:
        x, table = state["embedding.weight"][ids], f"{kind}.position_bias.weight"
        for layer in range(config.num_layers if encoded is None else config.decoder_layers):
            name = f"{kind}.blocks.{layer}"
            normed = norm(x, f"{name}.attention_norm")
            x = x + attention(normed, normed, f"{name}.attention", table, encoded is not None)
            if encoded is not None:
                normed = norm(x, f"{name}.cross_norm")
                x = x + attention(normed, encoded, f"{name}.cross_attention", None, False)
            x = x + feed_forward(norm(x, f"{name}.feed_forward_norm"), f"{name}.feed_forward")
        return norm(x, f"{kind}.final_norm")

    decoded = stack("decoder", target, stack("encoder", source, None))
    if config.scale_decoder_outputs:
        decoded = decoded / math.sqrt(config.hidden_size)
    return decoded @ state["embedding.weight" if config.tied_head else "own_head.weight"].T


@pytest.mark.parametrize("seed", [0, 1])
def test_numpy_statement(seed: int) -> None:
    torch.manual_seed(seed)
    network: Any = build_network({"model_type": "t5"} | random_config(seed)).eval()
    source, target = (torch.randint(0, 30, (length,)) for length in (60, 21))
    expected = numpy_logits(network, source.numpy(), target.numpy())
    got = network(source[None], target[None])[0].detach().numpy()
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4)


def test_bucket_edges() -> None:
    looking_back = {0: 0, 7: 7, 8: 8, 12: 9, 16: 10, 23: 11, 32: 12, 46: 13, 64: 14, 91: 15, 128: 15, 999: 15}
    ahead = {1: 17, 8: 24, 16: 26, 64: 30, 128: 31}
    distances = [-n for n in looking_back] + list(ahead)
    buckets = relative_position_buckets(torch.tensor(distances))
    assert buckets.tolist() == [*looking_back.values(), *ahead.values()]
    back = {0: 0, 15: 15, 16: 16, 19: 17, 31: 21, 64: 26, 112: 30, 113: 31, 5000: 31, -3: 0}
    distances = [-n for n in back]
    buckets = relative_position_buckets(torch.tensor(distances), bidirectional=False)
    assert buckets.tolist() == list(back.values())


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("num_buckets", "max_distance"), [(32, 128), (8, 40), (16, 100)])
def test_every_bucket_of_transformers(bidirectional: bool, num_buckets: int, max_distance: int) -> None:
    pytest.importorskip("transformers")
    from transformers.models.t5.modeling_t5 import T5Attention

    distances, options = torch.arange(-3000, 3000), {"num_buckets": num_buckets, "max_distance": max_distance}
    theirs = T5Attention._relative_position_bucket(distances, bidirectional=bidirectional, **options)
    assert torch.equal(relative_position_buckets(distances, bidirectional=bidirectional, **options), theirs)


@pytest.mark.parametrize("seed", range(10))
def test_checkpoints_of_transformers_open_here(seed: int, tmp_path: Path) -> None:
    peer = peer_network(seed)
    peer.save_pretrained(tmp_path, max_shard_size="5KB" if seed % 3 == 0 else "1GB")
    ours: Any = load_network(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert ours.config.tied_head == (not seed % 2) == ours.config.scale_decoder_outputs
    assert stored["scale_decoder_outputs"] == ours.config.scale_decoder_outputs
    ids, mask = padded_batch(peer.config.vocab_size, seed)
    target = torch.randint(0, peer.config.vocab_size, (3, 40))
    with torch.no_grad():
        close(ours(ids, target, mask), peer(ids, attention_mask=mask, decoder_input_ids=target).logits)
        close(ours(ids, target), peer(ids, decoder_input_ids=target).logits)


@pytest.mark.parametrize("seed", range(10))
def test_our_checkpoints_open_in_transformers_without_a_warning(
    seed: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(seed)
    ours: Any = build_network({"model_type": "t5"} | random_config(seed)).eval()
    save_network(ours, tmp_path / "model", max_shard_bytes=10**9 if seed % 2 else 4000)
    # Version 5 says so of every head of its own, after its own save_pretrained as well.
    peer = opened_silently("AutoModelForSeq2SeqLM", tmp_path / "model", caplog, "we will NOT tie them")
    ids, mask = padded_batch(peer.config.vocab_size, seed)
    target = torch.randint(0, peer.config.vocab_size, (3, 20))
    with torch.no_grad():
        close(ours(ids, target, mask), peer(ids, attention_mask=mask, decoder_input_ids=target).logits)


def rewrite(folder: Path, change: Any, **config: Any) -> None:
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})
    stored = json.loads((folder / "config.json").read_text())
    kept = {key: value for key, value in (stored | config).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))


def test_files_from_before_the_second_key(tmp_path: Path) -> None:
    """Version 4 wrote `tie_word_embeddings: false` for version 1.1, old names, and a table nobody uses."""
    peer = peer_network(1)
    peer.save_pretrained(tmp_path)
    table = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"

    def old(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        state["encoder.embed_tokens.weight"] = state["shared.weight"].clone()
        state["decoder.embed_tokens.weight"] = state["shared.weight"].clone()
        return state | {table: torch.zeros(32, 2)}

    rewrite(
        tmp_path,
        old,
        tie_word_embeddings=False,
        scale_decoder_outputs=None,
        relative_attention_max_distance=None,
        architectures=["T5WithLMHeadModel"],
    )
    ours: Any = load_network(tmp_path)
    assert not ours.config.tied_head and not ours.config.scale_decoder_outputs
    assert ours.config.max_distance == 128
    rewrite(tmp_path, lambda state: state | {"encoder.embed_tokens.weight": state["shared.weight"] + 1})
    with pytest.raises(ArtifactError, match="encoder.embed_tokens.weight.*differs"):
        load_network(tmp_path)


def test_a_tied_network_without_scaling(tmp_path: Path) -> None:
    """What version 5 makes of a fresh 1.1 configuration: a tied head and an unscaled output."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    peer = transformers.T5ForConditionalGeneration(transformers.T5Config(**random_config(3))).eval()
    peer.save_pretrained(tmp_path)
    ours: Any = load_network(tmp_path)
    assert ours.config.tied_head and not ours.config.scale_decoder_outputs
    ids, target = torch.randint(0, 30, (2, 9)), torch.randint(0, 30, (2, 4))
    close(ours(ids, target), peer(ids, decoder_input_ids=target).logits)


def test_half_precision_files(tmp_path: Path) -> None:
    peer = peer_network(5)
    peer.half().save_pretrained(tmp_path)
    assert load_network(tmp_path).embedding.weight.dtype == torch.float16
    ids, target = torch.randint(0, 30, (2, 9)), torch.randint(0, 30, (2, 4))
    ours = load_network(tmp_path, dtype=torch.float32)
    close(ours(ids, target), peer.float()(ids, decoder_input_ids=target).logits)


def test_renamed_missing_and_extra_tensors_are_refused_by_name(tmp_path: Path) -> None:
    peer_network(1).save_pretrained(tmp_path)
    name = "decoder.block.0.layer.1.EncDecAttention.k.weight"
    rewrite(tmp_path, lambda state: {("x" if key == name else key): x for key, x in state.items()})
    with pytest.raises(ArtifactError, match=f"missing {name}; extra x"):
        load_network(tmp_path)


def test_rows_of_one_source_share_it() -> None:
    torch.manual_seed(0)
    network: Any = build_network({"model_type": "t5"} | random_config(3)).eval()
    ids, mask = padded_batch(30, 1)
    targets = torch.randint(0, 30, (6, 5))
    together = network(ids, targets, mask)
    apart = network(ids.repeat_interleave(2, 0), targets, mask.repeat_interleave(2, 0))
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-5)


@pytest.mark.parametrize("copies", [1, 3])
def test_cached_steps_equal_the_whole_pass(copies: int) -> None:
    torch.manual_seed(0)
    network: Any = build_network({"model_type": "t5"} | random_config(4)).eval()
    ids, mask = padded_batch(30, 1)
    targets = torch.randint(0, 30, (3 * copies, 30))
    encoded = network.encode(ids, mask)
    cache = network.open_cache(encoded, mask, capacity=30, copies=copies)
    pieces = [network.decode(part, cache=cache) for part in targets.split([4, 1, 20, 1, 4], 1)]
    whole = network.decode(targets, encoded, mask)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=0, atol=1e-5)
    with pytest.raises(DataError, match="31 positions"):
        network.decode(targets[:, :1], cache=cache)


def test_chosen_rows_go_on(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network: Any = build_network({"model_type": "t5"} | random_config(2)).eval()
    ids, mask = padded_batch(30, 1)
    targets, rows = torch.randint(0, 30, (3, 6)), torch.tensor([2, 0])
    cache = network.open_cache(network.encode(ids, mask), mask, capacity=6)
    network.decode(targets[:, :4], cache=cache)
    rest = network.decode(targets[rows, 4:], cache=cache.select(rows))
    torch.testing.assert_close(rest, network.hidden(ids, targets, mask)[rows, 4:], rtol=0, atol=1e-5)


def test_gradients_reach_what_transformers_reaches() -> None:
    peer = peer_network(1)
    torch.manual_seed(0)
    ours: Any = build_network({"model_type": "t5"} | random_config(1)).eval()
    from hortus.models.t5 import FAMILY

    state = {name: x for name, x in peer.state_dict().items() if "embed_tokens" not in name}
    ours.load_state_dict({str(FAMILY.names.own(name)): x for name, x in state.items()})
    ids, mask = padded_batch(30, 1)
    labels = torch.randint(0, 30, (3, 7))
    shifted = torch.cat([torch.zeros(3, 1, dtype=torch.long), labels[:, :-1]], 1)
    loss = torch.nn.functional.cross_entropy(ours(ids, shifted, mask).flatten(0, 1), labels.flatten())
    loss.backward()
    expected = peer(ids, attention_mask=mask, labels=labels).loss
    expected.backward()
    torch.testing.assert_close(loss, expected)
    theirs = dict(peer.named_parameters())
    for name, parameter in ours.named_parameters():
        gradient = theirs[FAMILY.names.published(name)].grad
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_counts_of_the_releases() -> None:
    counts = {
        "v1.1-small": 76_961_152,
        "v1.1-base": 247_577_856,
        "v1.1-large": 783_150_080,
        "t0-3b": 2_849_757_184,
        "t0pp": 11_135_332_352,
        "small": 60_506_624,
        "base": 222_903_552,
    }
    assert {name: published(name).num_parameters for name in counts} == counts
    assert len(PUBLISHED) == 14
    with pytest.raises(ConfigError, match="did you mean 'v1.1-small'"):
        published("v1.1-smal")


def test_impossible_shapes_are_named() -> None:
    for change, message in (
        ({"num_buckets": 7}, "num_buckets=7"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"num_decoder_layers": 0}, "num_decoder_layers=0"),
    ):
        with pytest.raises(ConfigError, match=message):
            T5Config(**change)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="T5EncoderModel"):
        T5Config.from_hugging_face(random_config(0) | {"architectures": ["T5EncoderModel"]})
