"""Rates, order, resumption and refusals of mixtures."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hortus.config import from_mapping
from hortus.errors import ConfigError, DataError
from hortus.prompts import (
    CatalogueConfig,
    DatasetConfig,
    Mixture,
    MixtureConfig,
    TaskConfig,
    Template,
    TemplateError,
    TemplateSet,
    load_catalogue,
    load_dataset,
    ngram_overlap,
)
from hortus.prompts.catalogue import expand_catalogue
from hortus.prompts.sampling import RowOrder, draw_tasks, permuted, task_rate


def make_task(folder: Path, name: str, rows: int, jinjas: list[str], **fields: Any) -> TaskConfig:
    """A dataset of `rows` rows with one template for each Jinja text."""
    place = folder / name
    place.mkdir(parents=True)
    lines = [json.dumps({"text": f"{name} {row}", "label": row % 2}) for row in range(rows)]
    (place / "train.jsonl").write_text("\n".join(lines))
    templates = [Template(f"p{n}", jinja, "no ||| yes", id=f"{name}-{n}") for n, jinja in enumerate(jinjas)]
    TemplateSet(name, templates=templates).save(place / "templates.yaml")
    data = DatasetConfig(source=str(place / "train.jsonl"))
    return TaskConfig(name=name, data=data, templates=str(place), **fields)


PROMPT = "{{ text }}? ||| {{ answer_choices[label] }}"


@pytest.fixture
def config(tmp_path: Path) -> MixtureConfig:
    small = make_task(tmp_path, "small", 40, [PROMPT, "Q " + PROMPT], cluster="one")
    large = make_task(tmp_path, "large", 300, [PROMPT], cluster="two")
    return MixtureConfig(training=(small, large), seed=3)


def plain_rates(
    rule: str, rows: list[int], templates: list[int], cap: int, temperature: float
) -> list[float]:
    """The rules as formulas, per dataset: the share of all its templates together."""
    n, k = np.array(rows, float), np.array(templates)
    shares = {
        "t0": np.where(n > cap, cap // k, n) * k,
        "xp3": np.minimum(n, cap) * k,
        "temperature": np.minimum(n, cap) ** (1 / temperature),
    }
    return (shares[rule] / shares[rule].sum()).tolist()


@pytest.mark.parametrize("rule", ["t0", "xp3", "temperature"])
def test_rates_follow_their_formulas(rule: str) -> None:
    task = TaskConfig(name="a", data=DatasetConfig(source="a"), templates="a")
    config = MixtureConfig(training=(task,), rule=rule, cap=1000, temperature=3.0)
    rows, templates = [10, 999, 1000, 1001, 50_000], [3, 1, 7, 7, 4]
    ours = [task_rate(config, n, k) * k for n, k in zip(rows, templates, strict=True)]
    assert np.allclose(np.array(ours) / sum(ours), plain_rates(rule, rows, templates, 1000, 3.0))


def test_published_caps_are_the_defaults() -> None:
    task = TaskConfig(name="a", data=DatasetConfig(source="a"), templates="a")
    assert task_rate(MixtureConfig(training=(task,)), 3_600_000, 9) == 55_555
    assert task_rate(MixtureConfig(training=(task,)), 500_000, 9) == 500_000
    assert task_rate(MixtureConfig(training=(task,), rule="xp3"), 3_600_000, 9) == 100_000


def test_draws_have_the_asked_frequencies_and_never_hit_zero() -> None:
    rates = [0.0, 1.0, 3.0, 0.0, 6.0, 0.0]
    drawn = np.concatenate([draw_tasks(rates, window, 512, seed=1) for window in range(100)])
    assert np.allclose(np.bincount(drawn, minlength=6) / len(drawn), np.array(rates) / 10, atol=0.01)
    assert not np.isin(drawn, [0, 3, 5]).any()


@given(st.integers(1, 600), st.integers(0, 2**64 - 1))
def test_permutations_are_permutations(size: int, key: int) -> None:
    assert sorted(permuted(index, size, key) for index in range(size)) == list(range(size))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(0, 2**32))
def test_row_orders_visit_every_row_once(sizes: list[int], key: int) -> None:
    stops = np.cumsum(sizes).tolist()
    order = RowOrder(list(zip([0, *stops[:-1]], stops, strict=True)), key)
    assert sorted(order.row(position) for position in range(len(order))) == list(range(sum(sizes)))


def test_shares_sum_to_one_and_count_templates(config: MixtureConfig) -> None:
    shares = Mixture(config).shares()
    assert shares == {"small/p0": 40 / 380, "small/p1": 40 / 380, "large/p0": 300 / 380}


def test_explicit_weights_are_shared_by_the_templates(config: MixtureConfig) -> None:
    training = tuple(
        replace(task, weight=weight) for task, weight in zip(config.training, (1.0, 3.0), strict=True)
    )
    shares = Mixture(replace(config, training=training, rule="weights")).shares()
    assert shares == {"small/p0": 0.125, "small/p1": 0.125, "large/p0": 0.75}


def test_the_stream_is_deterministic_and_seeded(config: MixtureConfig) -> None:
    first, second = Mixture(config).take(700), Mixture(config).take(700)
    assert first == second
    assert Mixture(replace(config, seed=4)).take(700) != first


def test_every_row_comes_once_an_epoch(config: MixtureConfig) -> None:
    (task,) = config.training[1:]
    inputs = [example.index for example in Mixture(replace(config, training=(task,))).take(600)]
    assert sorted(inputs[:300]) == sorted(inputs[300:]) == list(range(300))
    assert inputs[:300] != inputs[300:] != sorted(inputs[300:])


@pytest.mark.parametrize("stop", [0, 1, 511, 512, 513, 1100])
def test_a_resumed_stream_goes_on_exactly(config: MixtureConfig, stop: int) -> None:
    whole = Mixture(config)
    expected = whole.take(1300)
    interrupted = Mixture(config)
    interrupted.take(stop)
    state = json.loads(json.dumps(interrupted.state_dict()))
    resumed = Mixture(config)
    resumed.load_state_dict(state)
    assert resumed.take(1300 - stop) == expected[stop:]
    assert resumed.report.to_mapping() == whole.report.to_mapping()


def test_a_state_of_another_mixture_is_refused(config: MixtureConfig) -> None:
    with pytest.raises(ConfigError, match="other tasks"):
        Mixture(replace(config, seed=9)).load_state_dict(Mixture(config).state_dict())


def test_shards_are_the_stream_dealt_by_windows(config: MixtureConfig) -> None:
    whole = Mixture(config).take(1024)
    parts = [Mixture(config, shard=(rank, 2)).take(512) for rank in range(2)]
    assert parts[0] + parts[1] == whole


def test_unusable_renderings_are_counted_not_dropped_silently(tmp_path: Path) -> None:
    half = "{% if label %}{{ text }}? ||| {{ answer_choices[label] }}{% endif %}"
    unlabelled = "{{ text }}? ||| {% if label %}yes{% endif %}"
    mixture = Mixture(MixtureConfig(training=(make_task(tmp_path, "half", 100, [half, unlabelled]),)))
    mixture.take(500)
    counts = mixture.report.to_mapping()
    assert counts["half/p0"]["ok"] + counts["half/p1"]["ok"] == 500
    assert counts["half/p0"]["skipped"] > 200 and counts["half/p1"]["unlabelled"] > 200
    assert counts["half/p0"]["reasons"]


def test_a_task_without_one_usable_row_is_an_error(tmp_path: Path) -> None:
    task = make_task(tmp_path, "none", 30, ["{% if label > 5 %}a ||| b{% endif %}"])
    with pytest.raises(DataError, match="none/p0 gave no usable example.*'skipped'"):
        Mixture(MixtureConfig(training=(task,))).take(1)


def test_a_column_that_a_template_needs_is_named_before_training(tmp_path: Path) -> None:
    task = make_task(tmp_path, "lacks", 3, [PROMPT, "a\n{{ textt }} ||| b"])
    with pytest.raises(
        DataError, match=r"'p1' \(lacks-1\), line 2, needs the column 'textt'.*those that fit: p0"
    ):
        Mixture(MixtureConfig(training=(task,)))
    assert Mixture(MixtureConfig(training=(replace(task, template_names=("p0",)),))).take(1)
    assert Mixture(MixtureConfig(training=(replace(task, without=("p1",)),))).take(1)


def test_a_template_that_does_not_parse_is_named_before_training(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="bad-0.*line 1"):
        Mixture(MixtureConfig(training=(make_task(tmp_path, "bad", 3, ["{{ a ||| b"]),)))


def test_held_out_datasets_clusters_and_files_are_refused(config: MixtureConfig) -> None:
    small, large = config.training
    with pytest.raises(ConfigError, match="'large'.*holds out as 'large'"):
        Mixture(replace(config, held_out=(large,)))
    with pytest.raises(ConfigError, match="'large'.*holds out as 'alias'"):
        Mixture(replace(config, held_out=(replace(large, name="alias", cluster=""),)))
    other = replace(large, name="other", data=DatasetConfig(source="elsewhere"), cluster="one")
    with pytest.raises(ConfigError, match="'small' of the cluster 'one'"):
        Mixture(replace(config, held_out=(other,)))
    Mixture(replace(config, held_out=(other,), held_out_clusters=()))
    with pytest.raises(ConfigError, match="cluster 'two'"):
        Mixture(replace(config, held_out_clusters=("two",)))


@pytest.mark.parametrize("weights", [(0.0, 0.0), (-1.0, 2.0), (float("nan"), 1.0)])
def test_weights_that_make_no_mixture_are_refused(
    config: MixtureConfig, weights: tuple[float, float]
) -> None:
    training = tuple(
        replace(task, weight=weight) for task, weight in zip(config.training, weights, strict=True)
    )
    with pytest.raises(ConfigError, match="weights"):
        replace(config, training=training, rule="weights")


@pytest.mark.parametrize(
    ("field", "value"), [("rule", "even"), ("temperature", 0.0), ("cap", 0), ("training", ())]
)
def test_settings_that_mean_nothing_are_refused(config: MixtureConfig, field: str, value: Any) -> None:
    with pytest.raises(ConfigError):
        replace(config, **{field: value})


def test_a_mixture_is_written_in_yaml(config: MixtureConfig) -> None:
    small = config.training[0]
    mapping = {
        "training": [
            {
                "name": "small",
                "data": {"source": small.data.source},
                "templates": small.templates,
                "cluster": "one",
            }
        ],
        "rule": "xp3",
        "seed": 3,
    }
    mixture = Mixture(from_mapping(MixtureConfig, mapping))
    assert mixture.take(2) == Mixture(replace(config, training=(small,), rule="xp3")).take(2)


def test_overlap_with_held_out_rows_is_reported(config: MixtureConfig, tmp_path: Path) -> None:
    held = tmp_path / "held.jsonl"
    held.write_text('{"q": "large 5"}\n{"q": "and now for something completely different"}\n')
    entry = TaskConfig(name="held", data=DatasetConfig(source=str(held)), templates="nowhere")
    texts = [{"text": "yes and now for something completely different it is", "label": 1}]
    mixture = Mixture(
        replace(config, training=config.training[:1], held_out=(entry,)),
        datasets={"small": load_dataset(texts)},
    )
    (report,) = mixture.overlap(n=5).values()
    assert (report.num_evaluation, report.num_too_short, report.num_overlapping) == (2, 1, 1)
    assert report.examples[0]["words"] in texts[0]["text"]


WORDS = st.lists(st.sampled_from("abc"), max_size=14).map(" ".join)


@given(st.lists(WORDS, max_size=4), st.lists(WORDS, max_size=4), st.integers(5, 8))
def test_overlap_equals_the_plain_statement(evaluation: list[str], training: list[str], n: int) -> None:
    def grams(words: list[str], length: int) -> set[tuple[str, ...]]:
        return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}

    shares = []
    for text in evaluation:
        words = text.split()
        if len(words) >= 5:
            own = grams(words, min(n, len(words)))
            seen = set().union(*(grams(other.split(), min(n, len(words))) for other in training))
            shares.append(len(own & seen) / len(own))
    report = ngram_overlap(evaluation, training, n)
    assert report.num_overlapping == sum(share > 0 for share in shares)
    assert report.mean_coverage == pytest.approx(np.mean(shares) if shares else 0.0)
    assert report.num_too_short == len(evaluation) - len(shares)


def test_overlap_of_single_words_is_refused() -> None:
    with pytest.raises(ConfigError, match="n=1"):
        ngram_overlap([], [], n=1)


def test_the_catalogue_holds_the_published_tables() -> None:
    catalogue = load_catalogue("t0")
    assert [len(catalogue.training(level)) for level in ("T0", "T0+", "T0++")] == [38, 48, 54]
    assert set(catalogue.held_out_clusters("T0")) == {
        "natural language inference",
        "coreference resolution",
        "word sense disambiguation",
        "sentence completion",
        "bias and fairness",
    }
    held = {entry.name for entry in catalogue.held_out("T0++")}
    assert {"super_glue/rte", "super_glue/cb", "anli", "story_cloze/2016"} <= held
    assert not held & {"super_glue/wic", "super_glue/copa", "hellaswag"}
    with pytest.raises(ConfigError, match="no level 'T1'; known: T0"):
        catalogue.training("T1")


@pytest.mark.parametrize("level", ["T0", "T0+", "T0++"])
def test_the_published_mixtures_hold_out_what_they_evaluate(level: str) -> None:
    config = expand_catalogue(MixtureConfig(catalogue=CatalogueConfig(templates="t", level=level)))
    assert len(config.training) == len(load_catalogue("t0").training(level))
    from hortus.prompts import refuse_held_out

    refuse_held_out(config)
    rte = next(task for task in config.held_out if task.name == "super_glue/rte")
    assert rte.original_only and rte.data == DatasetConfig(
        source="super_glue", subset="rte", split="validation"
    )
    with pytest.raises(ConfigError, match="super_glue/rte"):
        refuse_held_out(replace(config, training=(*config.training, rte)))


def test_a_catalogue_of_ones_own_runs_on_local_files(config: MixtureConfig, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    source = config.training[1].data.source
    file.write_text(
        "name: mine\nlevels: [all]\ndatasets:\n"
        "  - {dataset: large, cluster: two, training: all, licence: CC0, train_rows: 7, "
        f"source: {source}}}\n"
    )
    mixture = Mixture(
        MixtureConfig(catalogue=CatalogueConfig(file=str(file), level="all", templates=str(tmp_path)))
    )
    assert [task.rate for task in mixture.tasks] == [7] and len(mixture.take(3)) == 3
    assert load_catalogue(file).datasets[0].licence == "CC0"


def test_a_shard_must_be_one_of_the_world(config: MixtureConfig) -> None:
    with pytest.raises(ConfigError, match="rank"):
        Mixture(config, shard=(2, 2))


def test_a_mixture_is_endless(config: MixtureConfig) -> None:
    assert sum(1 for _ in islice(iter(Mixture(config)), 2000)) == 2000
