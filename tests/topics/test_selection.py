"""The choice of K: results, determinism, resuming, recommendation, pages, the recipe stage."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

import hortus
from hortus.errors import ArtifactError, ConfigError
from hortus.recipe import StageContext
from hortus.topics import CRITERIA, Selection, select_num_topics
from hortus.topics.config import ModelConfig, SelectConfig, StageConfig, TextConfig, parse_candidates
from hortus.topics.counts import check_counts
from hortus.topics.drawing import plane_of_topics
from hortus.topics.pages import write_map, write_selection
from hortus.topics.recommendation import measured_strengths, recommend
from hortus.topics.stage import STAGE

CONFIG = SelectConfig(
    candidates=(4, 2, 3, 3), restarts=2, jobs=2, top_words=5, model=ModelConfig(num_sweeps=40, num_kept=3)
)


@pytest.fixture(scope="module")
def selection(block_counts: sparse.csr_array) -> Selection:
    vocabulary = [f"word{i}" for i in range(29)] + ["</script>"]
    tokens = [np.repeat(np.arange(30), row) for row in block_counts.toarray()]
    return select_num_topics(block_counts, config=CONFIG, vocabulary=vocabulary, tokens=tokens)


def test_every_criterion_from_the_same_fits(selection: Selection) -> None:
    assert selection.table.index.tolist() == [2, 3, 4]
    assert list(selection.table.columns) == ["log_likelihood", *CRITERIA]
    assert np.isfinite(selection.table.to_numpy()).all()
    assert selection.chosen["sbic"] == 3
    for name, k in selection.chosen.items():
        column = selection.table[name]
        assert column[k] == (column.max() if CRITERIA[name].largest else column.min())
    assert selection.agreement.sum() == len(CRITERIA)
    assert sum(selection.weights.values()) == pytest.approx(1)
    assert selection.corpus["documents_held_out"] == 9
    assert selection.restarts.shape == (3, 2)
    best = selection.restarts.max(axis=1)
    assert best.tolist() == selection.table["log_likelihood"].tolist()


def test_models_are_in_the_users_rows_and_columns(
    selection: Selection, block_counts: sparse.csr_array
) -> None:
    model = selection.models[3]
    assert model.components_.shape == (3, 30) and model.document_topic_.shape == (90, 3)
    assert model.transform(block_counts).shape == (90, 3)


def test_jobs_and_order_change_nothing(selection: Selection, block_counts: sparse.csr_array) -> None:
    tokens = [np.repeat(np.arange(30), row) for row in block_counts.toarray()]
    again = select_num_topics(block_counts, [2, 3, 4], jobs=1, config=CONFIG, tokens=tokens)
    assert again.table.equals(selection.table)


class _InterruptedError(Exception):
    pass


def test_resume_after_an_interruption(block_counts: sparse.csr_array, tmp_path: Path) -> None:
    seen: list[float] = []

    def stop(what: str, share: float, seconds: float) -> None:
        seen.append(share)
        if len(seen) == 3:
            raise _InterruptedError

    config = replace(CONFIG, jobs=1)
    with pytest.raises(_InterruptedError):
        select_num_topics(block_counts, config=config, folder=tmp_path, progress=stop)
    made = sorted(path.name for path in (tmp_path / "fits").glob("*.npz"))
    assert 3 <= len(made) < 6  # the fit that was running when the third was reported is kept as well
    stamps = {name: (tmp_path / "fits" / name).stat().st_mtime_ns for name in made}
    rest: list[tuple[float, float]] = []
    resumed = select_num_topics(
        block_counts,
        config=config,
        folder=tmp_path,
        progress=lambda _, share, left: rest.append((share, left)),
    )
    assert len(rest) == 6 - len(made) and rest[-1][0] == pytest.approx(1) and rest[-1][1] == pytest.approx(0)
    assert {name: (tmp_path / "fits" / name).stat().st_mtime_ns for name in made} == stamps
    assert resumed.table.equals(select_num_topics(block_counts, config=config).table)
    with pytest.raises(ConfigError, match="differ in corpus, seed"):
        select_num_topics(block_counts, config=replace(config, seed=2), folder=tmp_path)
    (tmp_path / "fits" / made[0]).write_bytes(b"broken")
    with pytest.raises(ArtifactError, match=re.escape(made[0])):
        select_num_topics(block_counts, config=config, folder=tmp_path)


def test_warm_start_chains_the_grid(block_counts: sparse.csr_array) -> None:
    config = replace(CONFIG, warm_start=True, criteria=("sbic",))
    assert select_num_topics(block_counts, config=config).chosen == {"sbic": 3}


def test_separate_test_documents(block_counts: sparse.csr_array) -> None:
    config = replace(CONFIG, criteria=("perplexity",), model=replace(CONFIG.model, method="variational"))
    selection = select_num_topics(block_counts[:70], config=config, test=block_counts[70:])
    assert selection.corpus["documents_held_out"] == 0
    assert 5 < selection.table["perplexity"].min() < 31


def test_candidates_out_of_range(block_counts: sparse.csr_array) -> None:
    with pytest.raises(ConfigError, match="1 to 30"):
        select_num_topics(block_counts, [2, 31])
    for text in ("2:x", "2:8:0", "9:2", "1:2:3:4"):
        with pytest.raises(ConfigError, match="candidates"):
            parse_candidates(text)
    with pytest.raises(ConfigError, match="numbers from 1"):
        SelectConfig(candidates=(0, 2))


SETTINGS = [
    {
        "documents": size,
        "words": 30,
        "mean_length": 40.0,
        "true_topics": 10,
        "criteria": {"sbic": {"error": 0.4, "bias": -4.0}, "aic": {"error": error, "bias": 0.0}},
    }
    for size, error in ((80, 0.1), (5000, 0.9))
]


def test_recommendation_follows_the_nearest_measured_setting(block_counts: sparse.csr_array) -> None:
    counts = check_counts(block_counts)
    few = recommend({"sbic": 4, "aic": 8, "umass": 2}, [2, 4, 8], counts, SETTINGS)
    assert (few.num_topics, few.trusted) == (8, ("aic",))
    assert "mean error of 10%" in few.text and "edge of the candidates" in few.text
    assert "sBIC chooses 4; there it chose 40% too few" in few.text and "range from 2 to 8" in few.text
    many = recommend({"sbic": 4, "aic": 8}, [2, 4, 8], counts, SETTINGS[1:])
    assert (many.num_topics, many.trusted) == (4, ("sbic",))
    assert "far from yours" in many.text
    neither = recommend({"umass": 2, "npmi": 4}, [2, 4, 8], counts, SETTINGS)
    assert neither.num_topics == 2 and neither.trusted == ("npmi", "umass")


def test_shipped_strengths_cover_the_criteria() -> None:
    study = measured_strengths()
    for setting in study["settings"]:
        assert setting["replications"] >= 2
        assert set(setting["criteria"]) == set(CRITERIA)


def test_folder_of_a_selection(selection: Selection, tmp_path: Path) -> None:
    places = write_selection(selection, tmp_path / "out")
    page = places["report"].read_text()
    for title in ("sBIC", "C_V", "OpTop 0.20", "Agreement", "Convergence"):
        assert title in page
    assert selection.recommendation.text.split(".")[0] in page
    loaded = hortus.load(places["model"])
    assert loaded.num_topics == selection.recommendation.num_topics
    found = json.loads(places["selection"].read_text())
    assert found["chosen"] == selection.chosen and found["settings"]["restarts"] == 2
    assert places["table"].read_text().startswith("num_topics,log_likelihood,sbic")


def test_map_is_one_page_that_loads_nothing(selection: Selection, tmp_path: Path) -> None:
    write_map(selection.models[3], tmp_path / "map.html", title="<b>")
    page = (tmp_path / "map.html").read_text()
    assert page.count("</script>") == 1  # a word of that name must not end the script
    assert "&lt;b&gt;" in page and "$data" not in page
    assert not re.search(r"(?:src|href)\s*=", page) and "default-src 'none'" in page
    found = re.search(r"const data = (.*);\n", page)
    assert found is not None
    topics = json.loads(found.group(1).replace("<\\/", "</"))["topics"]
    assert len(topics) == 3 and sum(topic["share"] for topic in topics) == pytest.approx(1, abs=1e-3)


def test_plane_keeps_distances() -> None:
    phi = np.array([[0.5, 0.5, 0, 0], [0.5, 0.4, 0.1, 0], [0, 0, 0.5, 0.5]])
    plane = plane_of_topics(phi)
    near, far = np.linalg.norm(plane[0] - plane[1]), np.linalg.norm(plane[0] - plane[2])
    assert 0 < near < far / 3
    assert plane.min() >= 0 and plane.max() <= 1
    assert plane_of_topics(phi[:1]).shape == (1, 2)


def test_stage_on_texts(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    themes = [["river", "lake", "water", "boat"], ["bread", "oven", "flour", "yeast"]]
    lines = [json.dumps({"text": " ".join(generator.choice(themes[i % 2], 12))}) for i in range(40)]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    select = SelectConfig(candidates=(1, 2, 3), restarts=1, model=ModelConfig(num_sweeps=30))
    config = StageConfig(
        data=str(tmp_path / "texts.jsonl"),
        sample=30,
        select=select,
        texts=TextConfig(language="none", max_share=1.0),
    )
    (tmp_path / "stage").mkdir()
    context = StageContext(folder=tmp_path / "stage", inputs={}, resume=False, recipe={})
    result = STAGE.run(config, context)
    assert result.numbers["num_topics"] == 2 and result.numbers["documents"] == 30
    assert hortus.load(tmp_path / "stage" / "model").num_topics == 2
    assert STAGE.files(config) == [tmp_path / "texts.jsonl"]
    with pytest.raises(ConfigError, match="no texts"):
        STAGE.run(replace(config, data=""), context)


def test_stage_on_a_corpus(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    texts = [["river lake boat", "bread oven flour"][i % 2] for i in range(40)]
    splits = ["train"] * 36 + ["validation"] * 4
    (tmp_path / "corpus").mkdir()
    pq.write_table(pa.table({"text": texts, "split": splits}), tmp_path / "corpus" / "documents.parquet")
    select = SelectConfig(candidates=(1, 2), restarts=1, held_out=0, model=ModelConfig(num_sweeps=20))
    config = StageConfig(select=select, texts=TextConfig(language="none", max_share=1.0))
    inputs = {"corpus": tmp_path / "corpus"}
    (tmp_path / "stage").mkdir()
    context = StageContext(folder=tmp_path / "stage", inputs=inputs, resume=False, recipe={})
    assert STAGE.run(config, context).numbers["documents"] == 36
