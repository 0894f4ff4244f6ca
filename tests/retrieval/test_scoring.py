"""The scoring rules, on the edge cases of the published one."""

from __future__ import annotations

import numpy as np
import pytest

from hortus.retrieval.scoring import contains_answer, first_line, score_answers, substring_match

# answer, aliases -> substring (the published rule), words, exact, f1
CASES = [
    ("politician", ["politician"], 1, 1, 1, 1.0),
    ("a politician", ["politician"], 1, 1, 1, 1.0),  # articles count for neither exact nor f1
    ("He was a politician.", ["politician"], 1, 1, 0, 0.5),
    ("police officer", ["pol"], 1, 0, 0, 0.0),  # a false positive of two or three letters
    ("Politician", ["politician"], 1, 1, 1, 1.0),  # capitalize(alias)
    ("POLITICIAN", ["politician"], 0, 1, 1, 1.0),  # the answer is not lower-cased
    ("new york city", ["New York City"], 1, 1, 1, 1.0),  # lower(alias)
    ("New york city", ["New York City"], 1, 1, 1, 1.0),  # capitalize lowers all but the first letter
    ("new York City", ["New York City"], 0, 1, 1, 1.0),
    ("Sao Paulo", ["São Paulo"], 0, 1, 0, 0.5),  # accents count for all but words
    ("U.S.A", ["USA"], 0, 0, 1, 1.0),  # punctuation counts for substring and words
    ("U.S.A.", ["USA", "U.S.A."], 1, 1, 1, 1.0),
    ("", ["red"], 0, 0, 0, 0.0),
    ("The answer is red or blue", ["blue"], 1, 1, 0, 2 * 1 / (5 + 1)),
]


@pytest.mark.parametrize(("answer", "aliases", "substring", "words", "exact", "f1"), CASES)
def test_edge_cases(
    answer: str, aliases: list[str], substring: int, words: int, exact: int, f1: float
) -> None:
    scores = score_answers([answer], [aliases])
    found = [scores[name][0] for name in ("substring", "words", "exact", "f1")]
    assert found == pytest.approx([substring, words, exact, f1])


def test_published_rule_equals_its_own_words() -> None:
    draw = np.random.default_rng(0)
    letters = list("aAbB é")
    for _ in range(500):
        answer = "".join(draw.choice(letters, 6))
        aliases = ["".join(draw.choice(letters, 2)) for _ in range(2)]
        plain = any(a in answer or a.lower() in answer or a.capitalize() in answer for a in aliases)
        assert substring_match(answer, aliases) == plain


def test_first_line_drops_one_blank_line_only() -> None:
    assert first_line("\n\nParis\nx") == "Paris"
    assert first_line("\n\n\nParis") == ""
    assert first_line(" Paris") == " Paris"


def test_passage_contains_whole_words() -> None:
    assert contains_answer("Born in Zürich, he", ["zurich"])
    assert not contains_answer("a policy", ["pol"])
    assert not contains_answer("", [""])
