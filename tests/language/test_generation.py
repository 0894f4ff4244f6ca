import re

import pytest
import torch

import hortus
from hortus.errors import ArtifactError, ConfigError, DataError
from hortus.language import GenerationConfig, LanguageModel
from hortus.language.generation import Row, continue_rows
from hortus.language.sampling import uniform_numbers
from hortus.models.bloom import Bloom, BloomConfig

PROMPTS = ["The quick", "", "def f(x):", "é 敏", "The quick brown fox jumps over the lazy", "The quick"]


@pytest.fixture(scope="module")
def peer(model, tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("peer") / "model"
    model.save(folder)
    return transformers.BloomForCausalLM.from_pretrained(folder).eval()


@pytest.mark.parametrize("penalty", [1.0, 1.5])
def test_greedy_equals_transformers(model, peer, penalty) -> None:
    longest = 0
    for prompt in ("The quick", "def f(x): return x", "lazy dog", "é", "fox jumps"):
        ids = torch.tensor([model.tokenizer.encode(prompt)])
        settings = {"max_new_tokens": 25, "do_sample": False, "repetition_penalty": penalty}
        theirs = peer.generate(ids, attention_mask=torch.ones_like(ids), **settings)[0, ids.size(1) :]
        ours = model.generate(prompt, max_new_tokens=25, repetition_penalty=penalty)
        assert ours == model.tokenizer.decode(theirs.tolist())
        longest = max(longest, theirs.numel())
    assert longest > 10


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "seed": 3}, {"repetition_penalty": 1.3}])
@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_a_list_gives_what_each_text_gives_alone(model, options, batch_size) -> None:
    listed = model.generate(PROMPTS, max_new_tokens=12, batch_size=batch_size, **options)
    alone = [model.generate(prompt, max_new_tokens=12, **options) for prompt in PROMPTS]
    assert listed[:5] == alone[:5]
    if "seed" in options:
        assert listed[5] != listed[0]  # the same text again is another sample
    else:
        assert listed[5] == listed[0]


def test_rows_end_at_different_times_and_leave_the_batch(model) -> None:
    full = model.generate(PROMPTS[:5], max_new_tokens=20, temperature=1.0, seed=1, eos_token_id=[])
    counts = [len(model.tokenizer.encode(text)) for text in full]
    ends = tuple({model.tokenizer.encode(text)[3] for text in full[:3]})
    listed = model.generate(PROMPTS[:5], max_new_tokens=20, temperature=1.0, seed=1, eos_token_id=ends)
    alone = [
        model.generate(p, max_new_tokens=20, temperature=1.0, seed=1, eos_token_id=ends) for p in PROMPTS[:5]
    ]
    assert listed == alone
    assert all(whole.startswith(part.rstrip("\ufffd")) for whole, part in zip(full, listed, strict=True))
    assert sum(map(len, listed)) < sum(map(len, full)) and min(counts) > 0


def test_seeds(model) -> None:
    def write(seed: int | None) -> str:
        return model.generate("The", max_new_tokens=30, temperature=1.0, seed=seed)

    assert write(1) == write(1) != write(2)
    assert write(None) != write(None)


@pytest.mark.parametrize("seed", range(6))
def test_pieces_join_to_the_text_and_hold_whole_characters(model, seed) -> None:
    options = {"max_new_tokens": 40, "temperature": 1.5, "seed": seed}
    pieces = list(model.stream("é 敏", **options))
    assert "".join(pieces) == model.generate("é 敏", **options)
    assert all(pieces)


def test_streamed_characters_are_never_broken(make_model) -> None:
    model = make_model()
    # The network is made to spell é敏ж byte by byte (no byte occurs twice).
    spelled = [model.tokenizer.token_id(byte_letter(byte)) for byte in "é敏ж".encode()]
    assert None not in spelled
    chain(model, spelled)
    pieces = list(model.stream("", max_new_tokens=len(spelled)))
    assert pieces == ["é", "敏", "ж"]


def byte_letter(byte: int) -> str:
    """The letter that stands for a byte in byte-level vocabularies (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [other for other in range(256) if other not in printable]
    return chr(byte) if byte in printable else chr(256 + others.index(byte))


def chain(model: LanguageModel, tokens: list[int]) -> None:
    """Replace the head, so that each token of the list is followed by the next."""
    following = {model.separator_id: tokens[0]} | dict(zip(tokens, tokens[1:], strict=False))
    count = model.tokenizer.vocab_size
    network = model.network

    def hidden(input_ids, attention_mask=None, segment_ids=None, cache=None):
        for layer in range(network.config.num_layers):
            shape = (input_ids.size(0), 3, input_ids.size(1), 16)
            cache.update(layer, torch.zeros(shape), torch.zeros(shape))
        return input_ids[..., None].float()

    def head(states):
        wanted = [following.get(int(token), 0) for token in states[..., 0].flatten()]
        return torch.nn.functional.one_hot(torch.tensor(wanted), count).float()

    network.hidden, network.head = hidden, head
    network.model_type = "chained"  # keeps the compiled kernels out


def test_stop_strings_in_text_and_stream(model) -> None:
    whole = model.generate("The", max_new_tokens=30, temperature=1.0, seed=5)
    stop = whole[len(whole) // 2 : len(whole) // 2 + 2]
    expected = whole[: whole.index(stop)]
    options = {"max_new_tokens": 30, "temperature": 1.0, "seed": 5, "stop": stop}
    assert model.generate("The", **options) == expected
    assert "".join(model.stream("The", **options)) == expected
    assert model.generate(["a", "The"], **options)[1] == expected


def test_an_empty_text_starts_as_a_document_does(model) -> None:
    assert model.separator_id == model.tokenizer.eos_id
    spelled = model.generate("</s>", max_new_tokens=8, parse_special=True)
    assert model.generate("", max_new_tokens=8) == spelled


def test_empty_lists_and_no_tokens(model) -> None:
    assert model.generate([]) == []
    assert model.generate("The", max_new_tokens=0) == ""
    assert model.generate(["The", "a"], max_new_tokens=0) == ["", ""]
    assert list(model.stream("The", max_new_tokens=0)) == []


def test_ids_without_text_are_never_chosen(make_model, tokenizer) -> None:
    model = make_model(vocab_size=tokenizer.vocab_size + 200)
    with torch.no_grad():
        model.network.embedding.weight[tokenizer.vocab_size :] *= 50
    for temperature in (0.0, 1.0):
        config = GenerationConfig(temperature=temperature)
        row = Row([5], uniform_numbers([[5]], 9, 0)[0], 9)
        settings = {"ends": (), "pad_id": 3, "num_tokens": tokenizer.vocab_size}
        tokens = [token for _, token in continue_rows(model.network, [row], config, **settings)]
        assert len(tokens) == 9 and max(tokens) < tokenizer.vocab_size


def test_lengths(make_model) -> None:
    model = make_model(max_length=12)
    long = "The quick brown fox jumps over the lazy dog. The quick brown fox jumps over"
    with pytest.raises(DataError, match="pass truncate=True"):
        model.generate(long)
    with pytest.raises(DataError, match="max_length=12"):
        model.stream(long)
    kept = model.tokenizer.decode(model.tokenizer.encode(long)[-8:])
    assert model.generate(long, truncate=True, max_new_tokens=4) == model.generate(kept, max_new_tokens=4)
    # Text and continuation together stay within the limit.
    assert len(list(model.stream("The", max_new_tokens=99, eos_token_id=[]))) <= 11


@pytest.mark.parametrize("text", [3, None, ["a", 3]])
def test_what_is_not_text_is_refused(model, text) -> None:
    with pytest.raises(DataError):
        model.generate(text)


def test_unknown_settings_are_refused(model) -> None:
    with pytest.raises(ConfigError, match=re.escape("did you mean 'max_new_tokens'?")):
        model.generate("a", max_new_token=3)


def test_save_and_load(model, tmp_path) -> None:
    config = GenerationConfig(max_new_tokens=5, temperature=0.5, eos_token_id=(model.tokenizer.eos_id,))
    saved = LanguageModel(model.network, model.tokenizer, config, max_length=77, recipe={"stages": []})
    saved.save(tmp_path / "model")
    loaded = hortus.load(tmp_path / "model")
    assert loaded.kind == "bloom" and loaded.card.name == "bloom"
    assert (loaded.generation_config, loaded.max_length, loaded.recipe) == (config, 77, {"stages": []})
    assert loaded.generate("The", seed=4) == saved.generate("The", seed=4)


def test_half_precision_decodes(model, tmp_path) -> None:
    model.save(tmp_path / "model")
    half = LanguageModel.load(tmp_path / "model", dtype="bfloat16")
    assert half.network.embedding.weight.dtype == torch.bfloat16
    assert len(half.generate(["The quick", "a"], max_new_tokens=4)) == 2


def test_a_tokenizer_too_large_is_refused(tokenizer) -> None:
    network = Bloom(BloomConfig(vocab_size=8, hidden_size=8, num_layers=1, num_heads=1))
    with pytest.raises(ArtifactError, match="at most 8"):
        LanguageModel(network, tokenizer)


def test_chat_prompts(make_model) -> None:
    model = make_model()
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    assert model.chat_prompt(turns) == ("Hi\nYes?\n", False)
    settings = model.tokenizer.settings
    settings["chat_template"] = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"
    )
    try:
        assert model.chat_prompt(turns) == ("<user>Hi</s><assistant>Yes?</s>", True)
        settings["chat_template"] = "{{ ''.__class__.__mro__ }}"
        with pytest.raises(ArtifactError, match="chat template is faulty"):
            model.chat_prompt(turns)
        settings["chat_template"] = "{{ raise_exception('no system turn') }}"
        with pytest.raises(DataError, match="no system turn"):
            model.chat_prompt(turns)
    finally:
        del settings["chat_template"]
