"""Ablations: the statistics against planted effects, the grid, and a whole small one by its recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hortus.budget.ablation import settings_of
from hortus.budget.ablation_analysis import Grid, effects, verdict
from hortus.budget.ablation_config import AblateConfig
from hortus.budget.ablation_objectives import MaskedDecoding, PrefixModeling
from hortus.budget.ablation_run import run_ablation
from hortus.errors import ConfigError
from hortus.models.decoder import DecoderConfig, HortusDecoder

FACTORS = {"position": ["none", "rotary", "alibi"], "gate": ["false", "true"]}


def grid(shift: dict[str, float], noise: float, seed: int = 0) -> Grid:
    settings = [{"position": p, "gate": g} for p in FACTORS["position"] for g in FACTORS["gate"]]
    draw = np.random.default_rng(seed)
    seeds = 0.3 * draw.normal(size=3)  # a seed moves all settings alike, which must not count as error
    scores = np.array([[shift.get(s["position"], 0) + seed for seed in seeds] for s in settings])
    return Grid(settings, scores + noise * draw.normal(size=scores.shape))


def test_planted_effects_are_found_with_their_error() -> None:
    found = {e.level: e for e in effects(grid({"alibi": -0.1}, 0.01, seed=1), FACTORS)}
    alibi = found["alibi"]
    assert alibi.difference == pytest.approx(-0.1, abs=3 * alibi.standard_error)
    assert alibi.significant and (alibi.pairs, alibi.agreeing) == (2, 2)
    assert not found["rotary"].significant and not found["true"].significant
    # sqrt(2 / (3 seeds x 2 settings)) of a deviation of 0.01, estimated with 10 degrees of freedom.
    assert alibi.standard_error == pytest.approx(0.01 * np.sqrt(2 / 6), rel=0.5)


def test_nothing_planted_is_seldom_found() -> None:
    false = sum(any(e.significant for e in effects(grid({}, 0.05, seed), FACTORS)) for seed in range(200))
    assert false <= 20  # 5 % of 200 are 10; above 20 has a chance of 0.2 %


def test_the_error_is_that_of_the_textbook() -> None:
    """One factor, one setting each: the paired t-test over seeds."""
    from scipy.stats import ttest_rel

    scores = np.array([[2.0, 2.2, 2.1], [1.9, 2.14, 1.98]])
    one = effects(Grid([{"x": "a"}, {"x": "b"}], scores), {"x": ["a", "b"]})[0]
    assert one.probability == pytest.approx(ttest_rel(*scores).pvalue)


def test_verdicts_in_words() -> None:
    found = [e for e in effects(grid({"alibi": -0.1}, 0.01, seed=1), FACTORS) if e.factor == "position"]
    text = verdict("position", found, "bits a byte", {"none": 41.23, "rotary": 41.46, "alibi": 43.7})
    assert text.startswith("position: choose alibi.")
    assert (
        "rotary is within chance of none" in text
        and "better than none (p < 0.001; in 2 of 2 settings)" in text
    )
    assert "Published, best first: alibi, rotary, none; here" in text
    assert verdict("gate", effects(grid({}, 0.01), {"gate": ["false", "true"]}), "x", {}).startswith(
        "gate: no level differs from false by more than chance."
    )


def test_designs() -> None:
    factors: dict[str, list[Any]] = {"position": ["none", "alibi"], "embedding_norm": [True, False]}
    assert len(settings_of(AblateConfig(factors=factors))) == 4
    single = settings_of(AblateConfig(factors=factors, design="single"))
    assert single[1:] == [
        {"position": "alibi", "embedding_norm": True},
        {"position": "none", "embedding_norm": False},
    ]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"factors": {}}, "no factors"),
        ({"factors": {"position": ["none"]}}, "two or more different levels"),
        ({"factors": {"position": ["none", "alibi"]}, "seeds": (1,)}, "no error to judge by"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        AblateConfig(**settings)


@pytest.fixture
def decoder() -> HortusDecoder:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = {"vocab_size": 20, "hidden_size": 16, "num_layers": 1, "num_heads": 2}
    return HortusDecoder(DecoderConfig(**shape, objective="masked", initializer_range=0.5))


def test_prefix_counts_what_follows_the_prefix(decoder: HortusDecoder) -> None:
    ids = torch.randint(0, 20, (3, 9))
    torch.manual_seed(1)
    prefixes = torch.randint(1, 9, (3,))
    torch.manual_seed(1)
    loss, count, _ = PrefixModeling(decoder).loss({"input_ids": ids})
    assert int(count) == int((9 - prefixes).sum())
    scores = decoder.head(decoder.hidden(ids, prefix_lengths=prefixes)).log_softmax(-1)
    lost = [-scores[b, t - 1, ids[b, t]] for b in range(3) for t in range(int(prefixes[b]), 9)]
    torch.testing.assert_close(loss, torch.stack(lost).sum())


def test_masked_counts_what_is_hidden(decoder: HortusDecoder) -> None:
    ids = torch.randint(4, 20, (4, 50))
    torch.manual_seed(1)
    loss, count, _ = MaskedDecoding(decoder, mask_id=3, share=0.2).loss({"input_ids": ids})
    assert 20 < int(count) < 60 and loss.item() / int(count) > 1


RECIPE = """
name: tiny
folder: {folder}
stages:
  ablate:
    factors:
      position: [none, alibi]
      objective: [causal, masked]
      vocab_size: [262, 280]
    design: single
    seeds: [0, 1]
    sources: [{text}]
    corpus: {{language: en, validation_fraction: 0.2}}
    sequence_length: 32
    model: {{hidden_size: 16, num_layers: 1, num_heads: 2}}
    training: {{steps: 8, batch_size: 4, learning_rate: 0.01}}
    learning_rates: [0.01, 0.001]
    floor_bytes: 1
    processes: 1
    tasks: [{tasks}]
    published: {{position: {{none: 1.0, alibi: 2.0}}}}
"""


@pytest.mark.timeout(400)
def test_a_whole_one_and_what_is_kept_of_it(tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    draw = np.random.default_rng(0)
    words = [
        "to",
        "be",
        "or",
        "not",
        "that",
        "is",
        "the",
        "question",
        "whether",
        "nobler",
        "in",
        "mind",
        "suffer",
        "slings",
        "arrows",
    ]
    for number in range(30):
        (texts / f"{number}.txt").write_text(" ".join(draw.choice(words, 120)))
    task = {"query": "To be or not to", "choices": [" be", " over"], "gold": 0}
    (tmp_path / "words.jsonl").write_text(json.dumps(task) + "\n")
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE.format(folder=tmp_path / "run", text=texts, tasks=tmp_path / "words.jsonl"))
    first = run_ablation(recipe)
    assert (first["settings"], first["trials"]) == (4, 8) and len(first["verdicts"]) == 3
    assert {row["learning rate"] for row in first["settings by score"]} <= {0.01, 0.001}
    assert all(0 < row["bits a byte"] < 9 for row in first["settings by score"])
    assert all(0 <= row["accuracy, words"] <= 1 for row in first["settings by score"])
    assert Path(first["report"]).is_file()
    # Interrupted after all but one trial: that one alone is trained again, and gives the same.
    trials = sorted((tmp_path / "run" / "ablate" / "trials").glob("*/result.json"))
    assert len(trials) == 4 * 3  # two rates with the first seed, the better one with the second
    before = {path: path.stat().st_mtime_ns for path in trials}
    trials[0].unlink()
    record = tmp_path / "run" / "stages" / "ablate.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"done": False}))
    again = run_ablation(recipe, resume=True)
    assert {p for p in trials if p.stat().st_mtime_ns != before[p]} == {trials[0]}
    assert again["levels"] == first["levels"]
