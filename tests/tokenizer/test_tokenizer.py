"""Reading, writing, streaming, and agreement with transformers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hortus.errors import ArtifactError
from hortus.tokenizer import Tokenizer


def test_save_and_load_keep_everything(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    for source in (tmp_path, tmp_path / "tokenizer.json"):
        loaded = Tokenizer.load(source)
        assert loaded.fingerprint() == tokenizer.fingerprint()
        assert (loaded.unk_id, loaded.bos_id, loaded.eos_id, loaded.pad_id) == (0, 1, 2, 3)
        assert loaded.padding_side == "left"
    assert {path.name for path in tmp_path.iterdir()} == {
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    }  # fmt: skip


def test_transformers_opens_it_with_left_padding(tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer.save(tmp_path)
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert auto.padding_side == "left"
    assert (auto.unk_token_id, auto.bos_token_id, auto.eos_token_id, auto.pad_token_id) == (0, 1, 2, 3)
    assert len(auto) == tokenizer.vocab_size
    for text in ["The quick fox, n'est-ce pas?", "敏捷的棕色狐狸。", "  two  spaces\n\n\ttab ", "2² ﬁ Å", ""]:
        assert auto(text)["input_ids"] == tokenizer.encode(text)
        assert auto.decode(auto(text)["input_ids"]) == text
    padded = auto(["a b", "The quick brown fox jumps"], padding=True)["input_ids"]
    assert padded[0][0] == tokenizer.pad_id and padded[1][0] != tokenizer.pad_id


def test_a_tokenizer_that_transformers_saved_opens_here(tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer.save(tmp_path / "ours")
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    auto.save_pretrained(tmp_path / "theirs")
    loaded = Tokenizer.load(tmp_path / "theirs")
    assert loaded.encode("The lazy dog") == tokenizer.encode("The lazy dog")
    assert (loaded.bos_id, loaded.eos_id, loaded.pad_id, loaded.padding_side) == (1, 2, 3, "left")


def test_a_wordpiece_tokenizer_opens_with_its_template_and_without_its_truncation(tmp_path):
    from tokenizers import Tokenizer as Core
    from tokenizers import models, pre_tokenizers, processors

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]
    core = Core(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.add_special_tokens(words[:5])
    core.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    core.enable_truncation(4)
    core.enable_padding(pad_id=0, length=16)
    core.save(str(tmp_path / "tokenizer.json"))
    settings = {"mask_token": {"content": "[MASK]", "special": True}, "model_max_length": 4}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    loaded = Tokenizer.load(tmp_path)
    assert loaded.encode("a b a b a b", add_special=True) == [2, 5, 6, 5, 6, 5, 6, 3]
    assert loaded.encode("a [MASK] b", parse_special=True) == [5, 4, 6]
    assert (loaded.cls_id, loaded.sep_id, loaded.mask_id, loaded.pad_id, loaded.unk_id) == (2, 3, 4, 0, 1)
    assert loaded.padding_side == "right"


def test_a_token_named_in_neither_file_nor_vocabulary_has_no_id(tokenizer):
    assert (
        tokenizer.mask_id is None and tokenizer.token_id("<mask>") is None and tokenizer.token(10**6) is None
    )


def test_missing_and_corrupt_files_are_named(tmp_path):
    with pytest.raises(ArtifactError, match="no tokenizer at .*tokenizer.json"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", "model": {')
    with pytest.raises(ArtifactError, match="tokenizer.json is corrupt"):
        Tokenizer.load(tmp_path)


def test_corrupt_settings_are_named(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(ArtifactError, match="tokenizer_config.json is corrupt"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[]")
    with pytest.raises(ArtifactError, match="holds a list"):
        Tokenizer.load(tmp_path)


@given(st.text(st.sampled_from("The quick ab ✓狐🦊é\n\ufffd"), max_size=30))
def test_streamed_text_equals_decoded_text(tokenizer, text):
    ids = tokenizer.encode(text)
    stream = tokenizer.decode_stream()
    assert "".join([stream.push(index) for index in ids] + [stream.finish()]) == text


def test_stream_holds_back_half_a_character_and_special_tokens(tokenizer):
    ids = tokenizer.encode("🦊")
    assert len(ids) > 1
    stream = tokenizer.decode_stream()
    assert [stream.push(index) for index in ids[:-1]] == [""] * (len(ids) - 1)
    assert stream.push(ids[-1]) == "🦊"
    assert stream.push(tokenizer.eos_id) == ""
    assert stream.push(ids[0]) == "" and stream.finish() == "\ufffd"
    assert tokenizer.decode_stream(skip_special=False).push(tokenizer.eos_id) == "</s>"
