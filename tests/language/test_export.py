"""Exported files read by the tools they are for; a file that reads differently is not kept."""

import importlib.util
import json

import numpy as np
import pytest
import torch

from hortus.cli import main
from hortus.errors import ArtifactError, ConfigError
from hortus.language import LanguageModel
from hortus.language.export import comparison, export_gguf, export_hugging_face, export_onnx
from hortus.models import build_network

WIDE = {"hidden_size": 64, "num_heads": 4}


def greedy(run, ids: list[int], count: int) -> list[int]:
    """Greedy tokens of a reader that has no cache: (1, T) -> (1, T, V)."""
    ids = list(ids)
    for _ in range(count):
        ids.append(int(run(torch.tensor([ids]))[0, -1].argmax()))
    return ids


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_hugging_face_folder(model, tmp_path, dtype) -> None:
    result = export_hugging_face(model, tmp_path / "out", dtype)
    assert result.difference < comparison.TOLERANCES[dtype] and result.agreement > 0.9
    assert "hortus" in result.readers
    again = LanguageModel.load(tmp_path / "out", dtype="float32")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == dtype
    if dtype == "float32":
        assert again.generate("The quick", max_new_tokens=64) == model.generate(
            "The quick", max_new_tokens=64
        )


@pytest.mark.parametrize("kind", ["t5", "distilbert"])
def test_other_families_as_hugging_face_folders(model, tmp_path, kind) -> None:
    pytest.importorskip("transformers")
    shapes = {
        "t5": {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2},
        "distilbert": {"dim": 16, "hidden_dim": 32, "n_layers": 1, "n_heads": 2},
    }
    network = build_network({"model_type": kind, "vocab_size": 320, **shapes[kind]}).eval()
    other = LanguageModel(network, model.tokenizer)
    result = export_hugging_face(other, tmp_path / "out")
    assert result.readers == ("hortus", "transformers") and result.difference < 1e-4


def test_onnx_takes_any_batch_and_length(make_model, tmp_path) -> None:
    model = make_model(num_layers=1)
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    result = export_onnx(model, tmp_path / "out")
    assert result.difference < 1e-4 and result.agreement == 1 and result.readers == ("onnxruntime",)
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "model.onnx"))

    def run(ids: torch.Tensor) -> np.ndarray:
        feed = {"input_ids": ids.numpy(), "attention_mask": np.ones_like(ids.numpy())}
        return session.run(["logits"], feed)[0]

    prompt = model.tokenizer.encode("The quick")
    assert run(torch.tensor([[prompt[0]]])).shape == (1, 1, model.network.config.vocab_size)
    with torch.inference_mode():
        expected = greedy(lambda ids: model.network(ids), prompt, 64)
    assert greedy(run, prompt, 64) == expected
    assert (tmp_path / "out" / "tokenizer.json").is_file()


@pytest.mark.parametrize("weights", ["float32", "float16", "q8_0"])
def test_gguf_holds_the_model(make_model, tmp_path, weights) -> None:
    gguf = pytest.importorskip("gguf")
    model = make_model(**WIDE)
    result = export_gguf(model, tmp_path / "m.gguf", weights)
    assert result.difference < comparison.TOLERANCES[weights] and "gguf" in result.readers
    reader = gguf.GGUFReader(str(tmp_path / "m.gguf"))

    def value(name: str) -> object:
        return reader.fields[name].contents()

    assert value("general.architecture") == "bloom" and value("tokenizer.ggml.pre") == "bloom"
    assert value("bloom.attention.head_count") == 4 and value("bloom.block_count") == 2
    tokens = value("tokenizer.ggml.tokens")
    assert tokens[5:9] == [model.tokenizer.token(index) for index in range(5, 9)]
    assert value("tokenizer.ggml.eos_token_id") == model.tokenizer.eos_id
    # The rows of all queries come first there, head by head here.
    stored = next(t for t in reader.tensors if t.name == "blk.0.attn_qkv.bias").data
    mine = model.network.blocks[0].attention.query_key_value.bias.detach().numpy().reshape(4, 3, 16)
    np.testing.assert_array_equal(stored, mine.transpose(1, 0, 2).ravel())


@pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed")
def test_llama_cpp_writes_the_same_tokens(make_model, tmp_path) -> None:
    import llama_cpp

    model = make_model(**WIDE)
    result = export_gguf(model, tmp_path / "m.gguf")
    assert "llama.cpp" in result.readers and result.difference < 1e-2
    llama = llama_cpp.Llama(str(tmp_path / "m.gguf"), n_ctx=128, verbose=False)
    text = "The quick brown é 敏捷"
    assert llama.tokenize(text.encode(), add_bos=False) == model.tokenizer.encode(text)
    theirs = llama(text, max_tokens=64, temperature=0)["choices"][0]["text"]
    # llama-cpp-python leaves out bytes that form no character.
    assert theirs == model.generate(text, max_new_tokens=64).replace("\ufffd", "")


def test_what_reads_differently_is_not_kept(make_model, tmp_path, monkeypatch) -> None:
    pytest.importorskip("gguf")
    model = make_model(**WIDE)
    monkeypatch.setattr("hortus.language.export.gguf._by_kind", lambda name, tensor, heads: tensor)
    with pytest.raises(ArtifactError, match="differ"):
        export_gguf(model, tmp_path / "m.gguf")
    monkeypatch.setitem(comparison.TOLERANCES, "float16", 0.0)
    with pytest.raises(ArtifactError, match="differ"):
        export_hugging_face(model, tmp_path / "out", "float16")
    assert not list(tmp_path.iterdir())


def test_what_a_format_does_not_have(model, make_model, tmp_path) -> None:
    pytest.importorskip("gguf")
    with pytest.raises(ConfigError, match="multiples of 32"):
        export_gguf(model, tmp_path / "m.gguf", "q8_0")
    with pytest.raises(ConfigError, match="float32, float16, q8_0"):
        export_gguf(model, tmp_path / "m.gguf", "bfloat16")
    with pytest.raises(ConfigError, match="post_layernorm"):
        export_gguf(make_model(apply_residual_connection_post_layernorm=True), tmp_path / "m.gguf")


def test_the_command(make_model, tmp_path, capsys) -> None:
    pytest.importorskip("gguf")
    make_model(**WIDE).save(tmp_path / "model")
    arguments = ["export", str(tmp_path / "model"), "--to", "gguf", "--output", str(tmp_path / "m.gguf")]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--json"])
    assert not end.value.code
    printed = json.loads(capsys.readouterr().out)
    assert printed["difference"] < 1e-2 and (tmp_path / "m.gguf").is_file()
    with pytest.raises(SystemExit) as end:
        main(["export", str(tmp_path / "model"), "--to", "onnx", "--weights", "q8_0", "--output", "x"])
    assert end.value.code == 2
