import json
import re

import pytest

from hortus.errors import ArtifactError, ConfigError
from hortus.language import GenerationConfig


def test_hugging_face_keys_both_ways(tmp_path) -> None:
    config = GenerationConfig(
        max_new_tokens=9,
        temperature=0.5,
        top_k=4,
        top_p=0.9,
        repetition_penalty=1.2,
        stop=("x",),
        eos_token_id=(2, 5),
    )
    config.write(tmp_path)
    stored = json.loads((tmp_path / "generation_config.json").read_text())
    assert stored == {
        "max_new_tokens": 9,
        "do_sample": True,
        "temperature": 0.5,
        "top_k": 4,
        "top_p": 0.9,
        "repetition_penalty": 1.2,
        "stop_strings": ["x"],
        "eos_token_id": [2, 5],
    }
    assert GenerationConfig.read(tmp_path) == config


def test_published_files_are_read() -> None:
    read = GenerationConfig.from_hugging_face
    assert read({"temperature": 0.7, "max_length": 20, "_from_model_config": True}) == GenerationConfig()
    assert read({"do_sample": True, "eos_token_id": 2}) == GenerationConfig(
        temperature=1.0, eos_token_id=(2,)
    )
    assert read({"stop_strings": "end"}).stop == ("end",)


def test_transformers_reads_what_is_written(tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    GenerationConfig(temperature=0.7, top_p=0.9).write(tmp_path)
    theirs = transformers.GenerationConfig.from_pretrained(tmp_path)
    assert (theirs.do_sample, theirs.temperature, theirs.top_p) == (True, 0.7, 0.9)


def test_a_folder_without_the_file_has_defaults(tmp_path) -> None:
    assert GenerationConfig.read(tmp_path) == GenerationConfig()


@pytest.mark.parametrize("text", ["[1]", "{", '{"top_p": 3}', '{"max_new_tokens": "many"}'])
def test_faulty_files_are_named(tmp_path, text) -> None:
    (tmp_path / "generation_config.json").write_text(text)
    with pytest.raises(ArtifactError, match=re.escape("generation_config.json")):
        GenerationConfig.read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": -1.0}, "temperature=-1.0; allowed: 0 (greedy) or more"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"top_k": -1}, "top_k=-1; allowed: 0 (off) or more"),
        ({"top_p": 0.0}, "top_p=0.0; allowed: above 0"),
        ({"repetition_penalty": 0.0}, "repetition_penalty=0.0; allowed: above 0"),
        ({"max_new_tokens": -1}, "max_new_tokens=-1"),
        ({"stop": ["a", ""]}, "allowed: strings that are not empty"),
        ({"temprature": 1.0}, "did you mean 'temperature'?"),
        ({"top_k": 1.5}, "wrong type"),
    ],
)
def test_impossible_settings_are_refused(changes, message) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        GenerationConfig().replaced(**changes)
