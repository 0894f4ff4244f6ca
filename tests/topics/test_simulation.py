"""The Monte Carlo study: draws, settings, resuming, summary, strengths."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from hortus.config import from_mapping
from hortus.errors import ConfigError, DataError
from hortus.topics import CRITERIA, parallel, simulate
from hortus.topics.config import ModelConfig, SelectConfig, SimulateConfig, TruthConfig
from hortus.topics.simulation import draw_documents, read_results, read_truth, settings, summarize
from hortus.topics.study import strengths, study_blocks

SELECT = SelectConfig(
    candidates=(2, 3, 4), restarts=2, top_words=5, jobs=1, model=ModelConfig(num_sweeps=25, num_kept=2)
)
TRUTH = TruthConfig(num_topics=(3,), num_words=40, mean_length=50, topic_word_prior=0.1)
CONFIG = SimulateConfig(
    truth=TRUTH, documents=(30,), length_factors=(0.5, 1.0), replications=2, select=SELECT, seed=7
)
ROOT = Path(__file__).parents[2]


def test_drawn_words_have_the_shares_of_the_truth() -> None:
    theta, phi = np.array([[0.25, 0.75], [1.0, 0.0]]), np.array([[0.5, 0.5, 0.0], [0.0, 0.2, 0.8]])
    counts = draw_documents(theta, phi, np.array([40_000, 20_000]), seed=1).toarray()
    assert counts.sum(axis=1).tolist() == [40_000, 20_000]
    np.testing.assert_allclose(counts / counts.sum(axis=1, keepdims=True), theta @ phi, atol=0.01)
    assert counts[1, 2] == 0


def test_truth_from_files(tmp_path: Path) -> None:
    truth = read_truth(TRUTH, 3, 20, seed=1)
    for name, array in (
        ("doc_topic", truth.theta),
        ("topic_word", truth.phi),
        ("text_length", truth.lengths),
    ):
        np.save(tmp_path / f"{name}.npy", array)
    config = TruthConfig(folder=tmp_path)
    found = read_truth(config, 3, 20, seed=1)
    np.testing.assert_array_equal(found.theta, truth.theta)
    assert [s.num_topics for s in settings(replace(CONFIG, truth=config))] == [3, 3]
    np.save(tmp_path / "topic_word.npy", truth.phi * 2)
    with pytest.raises(DataError, match="not distributions"):
        read_truth(config, 3, 20, seed=1)
    np.save(tmp_path / "topic_word.npy", truth.phi[:2])
    with pytest.raises(DataError, match="do not fit together"):
        read_truth(config, 3, 20, seed=1)
    (tmp_path / "doc_topic.npy").unlink()
    with pytest.raises(DataError, match="cannot read"):
        read_truth(config, 3, 20, seed=1)


def test_a_study_interrupted_and_finished(tmp_path: Path) -> None:
    assert simulate(CONFIG, tmp_path / "a", seconds=0) is None
    assert read_results(CONFIG, tmp_path / "a") == []
    seen: list[float] = []
    half = replace(CONFIG, replications=1)
    assert simulate(half, tmp_path / "a", progress=lambda _, share, left: seen.append(share)) is not None
    assert seen == [0.5, 1.0]
    summary = simulate(CONFIG, tmp_path / "a")
    whole = simulate(replace(CONFIG, select=replace(SELECT, jobs=2)), tmp_path / "b")
    assert summary is not None and whole is not None
    assert summary.equals(whole)
    with pytest.raises(ConfigError, match="other settings"):
        simulate(replace(CONFIG, seed=8), tmp_path / "a")
    results = read_results(CONFIG, tmp_path / "a")
    assert len(summary) == 2 * (len(CRITERIA) + 1)
    assert set(summary["replications"]) == {2}

    chosen = [r["chosen"]["aic"] for r in results if r["setting"]["length_factor"] == 1]
    row = summary[(summary["criterion"] == "aic") & (summary["length_factor"] == 1)].iloc[0]
    assert row["mean"] == np.mean(chosen) and row["bias"] == pytest.approx(np.mean(chosen) - 3)
    assert row["error"] == pytest.approx(np.mean(np.abs(np.array(chosen) - 3)) / 3)
    matches = [r["matches"][str(k)]["best"] for r, k in zip(results[2:], chosen, strict=True)]
    assert row["recovered_best_0.8"] == pytest.approx(np.mean(np.array(matches) >= 0.8))
    at_truth = summary[summary["criterion"] == "true K"]
    assert set(at_truth["mean"]) == {3}
    assert (at_truth["recovered_hungarian_0.8"] <= at_truth["recovered_best_0.8"]).all()

    found = strengths(CONFIG, summary)
    assert len(found["settings"]) == 2 and set(found["settings"][0]["criteria"]) == set(CRITERIA)
    headings = [heading for heading, _ in study_blocks(CONFIG, summary, results)]
    assert headings == [
        "Chosen number of topics",
        "Share of the true topics found again",
        "Mean curves",
        "Convergence",
    ]


def test_more_documents_than_the_truth_holds(tmp_path: Path) -> None:
    truth = read_truth(TRUTH, 3, 20, seed=1)
    for name, array in (
        ("doc_topic", truth.theta),
        ("topic_word", truth.phi),
        ("text_length", truth.lengths),
    ):
        np.save(tmp_path / f"{name}.npy", array)
    config = replace(CONFIG, truth=TruthConfig(folder=tmp_path))
    with pytest.raises(ConfigError, match="at most 20"):
        simulate(config, tmp_path / "study")


def test_a_cluster_address_goes_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    class Ray:
        """What run_tasks asks of the package, carried out at once."""

        def is_initialized(self) -> bool:
            return False

        def init(self, address: str, log_to_driver: bool) -> None:
            calls.append(address)

        def cluster_resources(self) -> dict[str, float]:
            return {"CPU": 3.0}

        def remote(self, function: object) -> SimpleNamespace:
            return SimpleNamespace(remote=lambda *task: (task, function(*task)))  # type: ignore[operator]

        def wait(self, running: list, num_returns: int) -> tuple[list, list]:
            calls.append(len(running))
            return running[:1], running[1:]

        def get(self, reference: tuple) -> object:
            return reference[1]

    monkeypatch.setattr(parallel, "require", lambda name, extra: Ray())
    kept: dict[tuple, int] = {}
    tasks = [(i, 2) for i in range(5)]
    assert parallel.run_tasks(tasks, pow, kept.__setitem__, ray_address="auto")
    assert kept == {(i, 2): i**2 for i in range(5)}
    assert calls[0] == "auto" and max(calls[1:]) == 3  # type: ignore[type-var]


def test_the_shipped_recipe_is_a_study() -> None:
    recipe = yaml.safe_load((ROOT / "recipes" / "topics-montecarlo.yaml").read_text())
    config = from_mapping(SimulateConfig, recipe)
    assert config.replications == 10 and config.select.numbers == tuple(range(2, 25, 2))
    assert [s.name for s in settings(config)][:2] == ["K12-D500-length0.5", "K12-D500-length1"]


def test_summary_of_one_replication_has_no_spread() -> None:
    result = {
        "setting": {"num_topics": 2, "documents": 5, "length_factor": 1.0},
        "words": 9,
        "tokens": 50,
        "documents": 5,
        "chosen": {"sbic": 3},
        "matches": {"3": {"best": [0.95, 0.85], "hungarian": [0.95, 0.1]}},
    }
    row = summarize(CONFIG, [result]).iloc[0]
    assert row["spread"] == 0 and row["error"] == 0.5
    assert row["recovered_best_0.9"] == 0.5 and row["recovered_hungarian_0.8"] == 0.5
