"""The recipe's stages from texts to the proof and the ablation, small enough for seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import hortus
from hortus.errors import ConfigError
from hortus.recipe import read_recipe, run_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
TRAINING: dict[str, Any] = {
    "batch_size": 8,
    "max_length": 24,
    "truncate": True,
    "device": "cpu",
    "compile": "off",
    "dtype": "float32",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    words = [("good", "fun"), ("bad", "dull")]
    for split, number in (("train", 48), ("test", 20)):
        lines = []
        for n in range(number):
            word, other = words[n % 2]
            lines.append(f"a {word} film is {other} number {n}\t{n % 2}")
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def recipe(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distilled")
    side = {"names": ["text", "label"], "classes": {"label": ["negative", "positive"]}}
    task = {
        "name": "films",
        "train": {"source": str(data / "train.tsv")} | side,
        "test": {"source": str(data / "test.tsv")} | side,
    }
    tuned = TRAINING | {"epochs": 6, "learning_rate": 3e-3, "evaluate_every": 6}
    short = TRAINING | {"steps": 6, "epochs": None, "layers": 1}
    stages = {
        "labelled": {"rows": 40, "tasks": [task]},
        "encoder": TRAINING
        | {"vocab_size": 300, "hidden_size": 16, "num_layers": 2, "num_heads": 2, "steps": 6, "epochs": None},
        "distill": short,
        "proof": tuned | {"seeds": [0, 1], "latency_repeats": 2, "latency_batches": [1, 2]},
        "on_device": {"runtime": "nowhere"},
        "ablation": short
        | {
            "variants": {
                "all": {},
                "no cosine": {"weight_cosine": 0.0},
                "fresh": {"initialization": "random"},
            },
            "finetuning": tuned | {"seeds": [0]},
        },
    }
    path = folder / "recipe.yaml"
    path.write_text(
        yaml.safe_dump({"name": "small", "folder": str(folder / "run"), "stages": stages}, sort_keys=False)
    )
    return path


def test_from_texts_to_the_proof(recipe: Path) -> None:
    torch.set_num_threads(1)
    result = run_recipe(read_recipe(recipe))
    numbers = result.numbers
    assert numbers["distill"]["student_parameters"] < numbers["distill"]["teacher_parameters"]
    (films, average, _) = (*numbers["proof"]["test accuracy"], None, None)[:3]
    assert films["task"].startswith("films") and 0.4 < films["largest class"] < 0.6
    assert {"teacher", "student", "fresh", "kept"} <= set(films)
    assert average["task"] == "average" and average["student"] == films["student"]
    assert numbers["proof"]["size"] == pytest.approx(
        numbers["distill"]["student_parameters"] / numbers["distill"]["teacher_parameters"], rel=0.3
    )
    assert [row["variant"] for row in numbers["ablation"]["ablation"]] == ["all", "no cosine", "fresh"]
    assert all(row["held-out loss at hidden words"] > 0 for row in numbers["ablation"]["ablation"])
    report = result.report.read_text()
    on_device = numbers["on_device"]["on device"]
    assert [row["load in Chromium, ms"] for row in on_device] == [None, None]
    assert all(row["file, MB"] > 0 for row in on_device) and "npm install onnxruntime-web" in report
    assert "Test accuracy" in report and "Size and speed" in report and "Ablation" in report
    model = hortus.load(str(recipe.parent / "run/distill/model"), device="cpu")
    assert model.kind == "distilbert" and "Distilled from" in model.card.data
    texts = (recipe.parent / "run/encoder/texts.jsonl").read_text().splitlines()
    assert len(texts) == 48 and "label" not in json.loads(texts[0])


def test_a_variant_with_an_unknown_setting(recipe: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'weight_soft'"):
        read_recipe(recipe, ["ablation.variants.odd={weigth_soft: 1.0}"])


@pytest.mark.parametrize("name", ["distilbert", "distilbert_ablation"])
def test_the_shipped_recipes_take_a_folder(name: str) -> None:
    read = read_recipe(RECIPES / f"{name}.yaml", ["labelled.folder=FOLDER"])
    (labelled,) = [stage.config for stage in read.stages if stage.name == "labelled"]
    assert all(task.train.source.startswith("FOLDER/") for task in labelled.placed())
