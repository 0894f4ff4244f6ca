"""The sixteen question templates of PopQA (Mallen et al. 2023, section 3 and appendix) and their
inverse."""

from __future__ import annotations

import re

from hortus.errors import DataError, nearest

__all__ = ["TEMPLATES", "question_for", "relation_of"]

# In the order of the released file. {s} is the subject.
TEMPLATES: dict[str, str] = {
    "occupation": "What is {s}'s occupation?",
    "place of birth": "In what city was {s} born?",
    "genre": "What genre is {s}?",
    "father": "Who is the father of {s}?",
    "country": "In what country is {s}?",
    "producer": "Who was the producer of {s}?",
    "director": "Who was the director of {s}?",
    "capital of": "What is {s} the capital of?",
    "screenwriter": "Who was the screenwriter for {s}?",
    "composer": "Who was the composer of {s}?",
    "color": "What color is {s}?",
    "religion": "What is the religion of {s}?",
    "sport": "What sport does {s} play?",
    "author": "Who is the author of {s}?",
    "mother": "Who is the mother of {s}?",
    "capital": "What is the capital of {s}?",
}
_PATTERNS = {
    relation: re.compile(re.escape(template).replace(r"\{s\}", "(.*)"), re.DOTALL)
    for relation, template in TEMPLATES.items()
}


def question_for(relation: str, subject: str) -> str:
    """The question that PopQA asks of a subject.

    Raises:
        DataError: PopQA has no such relation.

    >>> question_for("capital", "Peru")
    'What is the capital of Peru?'
    """
    if relation not in TEMPLATES:
        raise DataError(f"no template for the relation {relation!r}", do=nearest(relation, TEMPLATES))
    return TEMPLATES[relation].format(s=subject)


def relation_of(question: str) -> tuple[str, str] | None:
    """(relation, subject) of a question in one of the templates; None for any other text.

    At most one template fits a question of PopQA. Of texts that fit several, the first in the table counts.

    >>> relation_of("What is Peru the capital of?"), relation_of("Why?")
    (('capital of', 'Peru'), None)
    """
    for relation, pattern in _PATTERNS.items():
        found = pattern.fullmatch(question)
        if found:
            return relation, found[1]
    return None
