"""Whether an answer is right: the published rule, and stricter ones beside it.

    substring   any alias a, lower(a) or capitalize(a) occurs in the answer: the published accuracy
    words       an alias occurs as whole words, case, accents and punctuation aside
    exact       the answer is an alias, in SQuAD's normal form
    f1          the best overlap of words with an alias, in that form

The published rule is generous to short aliases ("pol" in "police") and blind to some spellings (the answer
is not lower-cased, and capitalize lowers all letters but the first): 1,215 of PopQA's rows have an alias of
two letters or fewer. It is kept as it is, so that numbers can be compared.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from hortus.evaluation.metrics import generation_scores
from hortus.evaluation.tasks import Document

__all__ = ["METRICS", "contains_answer", "first_line", "score_answers", "substring_match", "word_match"]

METRICS = ("substring", "words", "exact", "f1")


def first_line(text: str) -> str:
    """What is scored of a continuation: one leading blank line is dropped, the rest is cut at its first
    end.

    >>> first_line("\\n\\nParis\\nQ: And"), first_line(" Paris\\n\\nQ:"), first_line("\\nParis")
    ('Paris', ' Paris', '')
    """
    return text.removeprefix("\n\n").split("\n")[0]


def substring_match(answer: str, aliases: Sequence[str]) -> bool:
    """The published rule.

    >>> substring_match("He is a Politician.", ["politician"]), substring_match("NEW YORK", ["New York"])
    (True, False)
    """
    return any(form in answer for alias in aliases for form in (alias, alias.lower(), alias.capitalize()))


def word_match(answer: str, aliases: Sequence[str]) -> bool:
    """Whether an alias occurs as whole words, without regard to case, accents and punctuation.

    >>> word_match("the police", ["pol"]), word_match("São Paulo, Brazil", ["sao paulo"])
    (False, True)
    """
    words = f" {_plain(answer)} "
    return any(plain and f" {plain} " in words for plain in map(_plain, aliases))


def contains_answer(passage: str, aliases: Sequence[str]) -> bool:
    """Whether a passage holds an answer, as whole words: what recall@k counts."""
    return word_match(passage, aliases)


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return " ".join(re.findall(r"\w+", letters))


def score_answers(answers: Sequence[str], aliases: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """Every metric of every answer: (number of answers,) fp64 each, between 0 and 1.

    >>> {name: values.tolist() for name, values in score_answers(["a tall man"], [["tall", "man"]]).items()}
    {'substring': [1.0], 'words': [1.0], 'exact': [0.0], 'f1': [0.6666666666666666]}
    """
    pairs = list(zip(answers, aliases, strict=True))
    scores = {
        "substring": np.array([float(substring_match(*pair)) for pair in pairs]),
        "words": np.array([float(word_match(*pair)) for pair in pairs]),
    }
    documents = [Document(number, "", targets=tuple(known)) for number, known in enumerate(aliases)]
    for name, metric in (("exact", "exact_match"), ("f1", "f1")):
        by_document = generation_scores(documents, answers, [metric])[metric].by_document or {}
        scores[name] = np.array([by_document[number] for number in range(len(documents))], dtype=np.float64)
    return scores
