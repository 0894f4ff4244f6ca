"""From files to a published artifact through a recipe, small enough for a few seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import hortus
from hortus.artifact import ModelCard
from hortus.errors import ConfigError
from hortus.objectives.config import PretrainConfig
from hortus.recipe import read_recipe, run_recipe

LINES = {
    "english": "The garden grows when it rains. Water the plants in the evening, not at noon.",
    "french": "Le jardin pousse quand il pleut. Arrosez les plantes le soir, jamais à midi.",
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrain")
    texts = folder / "texts"
    texts.mkdir()
    rows = [
        {"text": f"{line} Number {i} of {name}: {'xyz'[i % 3] * (i % 7 + 1)}.", "language": name}
        for name, line in LINES.items()
        for i in range(60)
    ]
    (texts / "rows.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    training = {
        "stage": "pretrain",
        "num_layers": 1,
        "hidden_size": 32,
        "num_heads": 2,
        "sequence_length": 32,
    }
    training |= {"steps": 12, "batch_size": 4, "learning_rate": 0.01, "log_every": 4, "dtype": "float32"}
    source = {
        "name": "tiny",
        "folder": str(folder / "run"),
        "stages": {
            "corpus": {"sources": [str(texts)], "near_duplicate_overlap": 1.0, "validation_fraction": 0.2},
            "tokenizer": {"vocab_size": 300},
            "shards": {},
            "training": training,
            "held_out": {"floor_bytes": 100},
            "samples": {"prompts": ["The"], "max_new_tokens": 5},
            "model": {"name": "tiny garden", "rail": True},
        },
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(source, sort_keys=False))
    return path


def test_a_recipe_makes_a_model_with_its_results_on_its_card(recipe: Path) -> None:
    result = run_recipe(read_recipe(recipe))
    model = hortus.load(result.numbers["model"]["model"])
    card = ModelCard.read(recipe.parent / "run" / "model")
    rows = {row["language"]: row for row in result.numbers["held_out"]["held-out bits per byte"]}
    assert set(rows) == {"english", "french", "macro average"}
    assert card.results["bits per byte, english"] == pytest.approx(rows["english"]["bits per byte"], abs=1e-3)
    assert set(card.languages) == set(LINES) and card.energy_kwh is not None and card.rail
    assert isinstance(model.generate("The garden", max_new_tokens=4, seed=0), str)
    assert model.max_length == 32
    page = result.report.read_text()
    assert "Bits per byte on held-out documents" in page and "What the model writes" in page
    assert "<svg" in page and "Cost" in page


def test_the_artifact_opens_in_transformers(recipe: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    run_recipe(read_recipe(recipe))
    folder = recipe.parent / "run" / "model"
    peer, ours = transformers.AutoModelForCausalLM.from_pretrained(folder), hortus.load(folder)
    tokens = transformers.AutoTokenizer.from_pretrained(folder)("The garden grows", return_tensors="pt")
    assert tokens["input_ids"][0].tolist() == ours.tokenizer.encode("The garden grows")
    with torch.no_grad():
        difference = peer(**tokens).logits - ours.network(tokens["input_ids"])
    assert difference.abs().max() < 1e-4


def test_the_command_runs_the_recipe_and_prints_json(recipe: Path) -> None:
    command = [sys.executable, "-m", "hortus", "run", str(recipe), "--set", "training.steps=3", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    numbers = json.loads(result.stdout)["numbers"]
    assert numbers["training"]["steps"] == 3
    assert "corpus: unchanged" in result.stderr or "corpus: running" in result.stderr


def test_settings_of_the_model_are_checked() -> None:
    with pytest.raises(ConfigError, match="sequence_length=1"):
        PretrainConfig(steps=1, sequence_length=1)
