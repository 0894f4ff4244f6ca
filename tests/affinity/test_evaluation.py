from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hortus.affinity.evaluation import (
    evaluate,
    gain_over,
    mass_baseline,
    nearest_baseline,
    score_table,
    tanimoto,
)
from hortus.affinity.labels import pk_of_measure, read_labels
from hortus.affinity.splits import (
    drop_similar,
    group_folds,
    read_split,
    same_scaffold,
    sequence_identity,
    sequence_of,
    similar_groups,
    split_groups,
    structure_similarity,
)
from hortus.errors import ConfigError, DataError, DeviceError


def test_measures_equal_scipy_and_scikit_learn():
    stats, metrics = pytest.importorskip("scipy.stats"), pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    y = random.normal(size=60).round(1)
    p = y + random.normal(size=60).round(1)
    scores = {name: entry["value"] for name, entry in evaluate(y, p, resamples=0).items()}
    assert scores["rmse"] == pytest.approx(metrics.mean_squared_error(y, p) ** 0.5)
    assert scores["mae"] == pytest.approx(metrics.mean_absolute_error(y, p))
    assert scores["r2"] == pytest.approx(metrics.r2_score(y, p))
    assert scores["pearson"] == pytest.approx(stats.pearsonr(y, p)[0])
    assert scores["spearman"] == pytest.approx(stats.spearmanr(y, p)[0])


def test_intervals_hold_the_value_and_repeat():
    random = np.random.default_rng(1)
    y = random.normal(size=80)
    first, second = (evaluate(y, y + random.normal(size=80) * 0 + 0.5 * y**2, seed=4) for _ in range(2))
    assert first == second
    assert first["pearson"]["low"] < first["pearson"]["value"] < first["pearson"]["high"]


def test_gain_is_told_from_chance():
    random = np.random.default_rng(2)
    truth = random.normal(size=100)
    good, bad = truth + 0.3 * random.normal(size=100), truth + random.normal(size=100)
    assert gain_over(truth, good, bad).endswith("better") and gain_over(truth, bad, good).endswith("worse")
    assert gain_over(truth, bad, truth - (bad - truth)).endswith("not told apart by these complexes")


def test_bad_scores_are_named():
    with pytest.raises(DataError, match="2 labels and 3 predictions"):
        evaluate([1, 2], [1, 2, 3])
    with pytest.raises(DataError, match="not finite"):
        evaluate([1, 2], [1, float("nan")])


def test_baselines(store):
    labels = [4.7, 3.4, 2.2]
    assert nearest_baseline(store, labels, store) == pytest.approx(labels)
    mass = [one.ligand_mass for one in store]
    slope, intercept = np.polyfit(np.log(mass), labels, 1)
    assert mass_baseline(store, labels, store) == pytest.approx(intercept + slope * np.log(mass))
    row = score_table(np.array(labels), {"same": np.array(labels)})[0]
    assert row["predictor"] == "same" and row["rmse"].startswith("0.000")


def test_tanimoto_is_a_similarity():
    values = tanimoto(["CCO", "CCO", "c1ccccc1"], ["CCO", "c1ccccc1"])
    assert values[0].tolist() == values[1].tolist() and values[0, 0] == 1 and values[0, 1] < 0.2
    assert drop_similar(["CCO", "c1ccccc1"], ["CCO"], 0.9).tolist() == [False, True]


INDEX = "# head\n1abc  2.00  1999  4.30  Ki=50uM  // 1abc.pdf (X)\n2abc  NMR  2001  Kd=3.2nM // 2abc.pdf\n"


def test_index_and_table_are_read(tmp_path):
    (tmp_path / "INDEX.2020").write_text(INDEX)
    assert read_labels(tmp_path / "INDEX.2020") == {"1abc": 4.3, "2abc": 8.49}
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"name,pK,logP\na,1,2\n"))
    assert read_labels(tmp_path / "t.csv.gz") == {"a": 1}
    assert read_labels(tmp_path / "t.csv.gz", "logP") == {"a": 2}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("i", INDEX + "3abc 2.0\n", "line 4 is malformed"),
        ("i", INDEX + "1abc 2.0 1999 3.0 Kd=1mM\n", "line 4: '1abc' comes twice"),
        ("t.csv", "name,pK\na,x\n", "line 2 is malformed"),
        ("t.csv", "name,pK\na,nan\n", "not finite"),
        ("t.csv", "name\n", "at least two columns"),
        ("i", "# nothing\n", "holds no label"),
    ],
)
def test_bad_labels_are_named_by_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_labels(tmp_path / name)


def test_unknown_column_and_measure(tmp_path):
    (tmp_path / "t.csv").write_text("name,pK\na,1\n")
    with pytest.raises(DataError, match="no column 'pk2'"):
        read_labels(tmp_path / "t.csv", "pk2")
    with pytest.raises(ValueError, match="no measure"):
        pk_of_measure("Ki=50furlongs")


@given(st.lists(st.integers(0, 6), min_size=3, max_size=40), st.integers(0, 99))
def test_splits_keep_groups_whole(raw, seed):
    groups = np.array(raw)
    names = [f"n{i}" for i in range(len(raw))]
    made = split_groups(names, groups, validation=0.2, test=0.2, seed=seed)
    assert sorted(sum(made.values(), [])) == sorted(names)
    sides = {name: side for side, members in made.items() for name in members}
    for group in set(raw):
        assert len({sides[name] for name, g in zip(names, raw, strict=True) if g == group}) == 1
    assert len(made["test"]) <= 0.2 * len(names) + 0.5
    if len(set(raw)) >= 2:
        folds = group_folds(groups, 2, seed)
        assert all(len(set(folds[groups == g])) == 1 for g in set(raw)) and set(folds) == {0, 1}


def test_groups_join_over_others_and_scaffolds():
    similarity = np.array([[1, 0.7, 0], [0.7, 1, 0.7], [0, 0.7, 1]])
    assert len(set(similar_groups(similarity, 0.6))) == 1 and len(set(similar_groups(similarity, 0.8))) == 3
    assert same_scaffold(["Cc1ccccc1", "Oc1ccccc1", "CC", "CCC"]).tolist() == [0, 0, 1, 2]
    with pytest.raises(ConfigError, match="number of groups"):
        group_folds(np.zeros(4), 2)


def test_sequences_and_structures(example):
    paths = [example / name / f"{name}_pocket.pdb" for name in ("exa1", "exa2")]
    sequences = [sequence_of(path) for path in paths]
    assert sequences[0].startswith("GASVDKEF")
    assert sequence_identity(["ACDEFGHIKL", "ACDEFGHIKL", "ACDEF", "WWWWW"])[0].tolist()[:3] == [1, 1, 1]
    import shutil

    if not (shutil.which("TMalign") or shutil.which("USalign")):
        with pytest.raises(DeviceError, match="on the PATH"):
            structure_similarity(paths)


def test_published_split_files(tmp_path):
    path = tmp_path / "s.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"core": {"train": ["a"], "test": ["b"]}}).encode()))
    assert read_split(path, "core") == {"train": ["a"], "test": ["b"]}
    with pytest.raises(DataError, match="did you mean 'core'"):
        read_split(path, "cor")
    with pytest.raises(DataError, match="several splits"):
        read_split(path)
    path.write_bytes(gzip.compress(json.dumps({"train": ["a"], "test": ["a"]}).encode()))
    with pytest.raises(DataError, match="in both"):
        read_split(path)
