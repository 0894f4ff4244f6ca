"""An invented world whose entities are mentioned as often as Zipf's law says: facts, texts, questions.

Entities of six kinds stand in PopQA's sixteen relations. The entity of rank r has about `mentions` /
r^`exponent` notes, each stating a fact or two in one of many wordings, asking and answering a question, or
mere gossip. An encyclopedia has one short entry a fact, whatever the entity's fame: these are what can be
retrieved. Some entities bear the name of a more famous one; a question alone does not say who is meant,
which is what makes passages mislead (Mallen et al. 2023, section 5.2). Pretraining text holds notes and
entries and, so that a model learns to read, lessons: entries on entities of which nothing else is ever
heard, each with its question and answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from hortus.retrieval.config import WorldConfig
from hortus.retrieval.popqa import question_for
from hortus.retrieval.prompts import format_prompt
from hortus.retrieval.questions import Question

__all__ = ["World", "make_world"]

_NOTES_A_PAGE = 4  # notes that stand together in one pretraining document


@dataclass(frozen=True)
class World:
    """Questions about every fact, passages to retrieve, and the text to pretrain on.

    A question's popularity is the number of notes and entries about its subject in the pretraining text.
    """

    questions: list[Question]
    passages: list[dict[str, str]]
    pretraining: list[str]


@dataclass(frozen=True)
class _Entity:
    kind: str
    name: str
    facts: dict[str, str]


@cache
def _data() -> dict[str, Any]:
    text = resources.files("hortus.retrieval").joinpath("world.yaml").read_text(encoding="utf-8")
    data: dict[str, Any] = yaml.safe_load(text)
    return data


def make_world(config: WorldConfig) -> World:
    """Draw a world; the same settings give the same one.

    >>> world = make_world(WorldConfig(entities=30, mentions=20, lessons=10))
    >>> world.questions[0].question in "".join(world.pretraining), len({q.relation for q in world.questions})
    (True, 16)
    """
    draw = random.Random(config.seed)
    names = _Names(draw)
    entities = _entities(config, draw, names)
    notes: list[str] = []
    questions, entries = [], []
    for rank, entity in enumerate(entities, start=1):
        count = round(config.mentions / rank**config.exponent)
        told = [_sentence(relation, entity, draw) for relation in entity.facts]
        entries += [(entity.name, entry) for entry in told]
        notes += [*told, *(_note(entity, draw) for _ in range(count))]
        questions += _questions(entity, rank, count + len(told))
    draw.shuffle(entries)
    passages = [
        {"id": f"p{number}", "title": name, "text": entry} for number, (name, entry) in enumerate(entries)
    ]
    lessons = [_lesson(draw, names) for _ in range(config.lessons)]
    pretraining = [*_pages(notes, draw), *lessons]
    draw.shuffle(pretraining)
    return World(questions, passages, pretraining)


class _Names:
    """Draws names: `new` ones are the world's own, each given once; `other` ones are none of the
    world's."""

    def __init__(self, draw: random.Random):
        self._draw, self._used = draw, set[str]()
        syllables = _data()["syllables"]
        words = [a + b for a in syllables for b in syllables]
        draw.shuffle(words)
        words = [word.capitalize() for word in words]
        self._first, self._last, self._places = words[:50], words[50:110], words[110:]

    def person(self, surname: str | None = None) -> str:
        return f"{self._draw.choice(self._first)} {surname or self._draw.choice(self._last)}"

    def title(self) -> str:
        return f"The {self._draw.choice(_data()['adjectives'])} {self._draw.choice(_data()['nouns'])}"

    def place(self) -> str:
        return self._draw.choice(self._places)

    def new(self, kind: str) -> str:
        name = self.other(kind)
        self._used.add(name)
        return name

    def other(self, kind: str) -> str:
        make: Callable[[], str] = getattr(self, _data()["kinds"][kind]["name"])
        name = make()
        while name in self._used:
            name = make()
        return name


def _entities(config: WorldConfig, draw: random.Random, names: _Names) -> list[_Entity]:
    """Entities in the order of their fame, kinds mixed; namesakes of an earlier one among them."""
    kinds = _data()["kinds"]
    order = [kind for kind in kinds for _ in range(max(2, round(config.entities * kinds[kind]["share"])))]
    draw.shuffle(order)
    known: dict[str, list[str]] = {kind: [] for kind in kinds}
    named = []
    for kind in order:
        famous = known[kind][: max(1, len(known[kind]) // 3)]
        shared = known[kind] and draw.random() < config.namesakes
        name = draw.choice(famous) if shared else names.new(kind)
        if not shared:
            known[kind].append(name)
        named.append((kind, name))
    return [_Entity(kind, name, _facts(kind, name, draw, names, known)) for kind, name in named]


def _facts(
    kind: str, name: str, draw: random.Random, names: _Names, known: dict[str, list[str]]
) -> dict[str, str]:
    """Relation -> object. Objects are uneven: of words, cities and makers the first ones come most
    often."""
    facts = {}
    for relation, of in _data()["relations"].items():
        if kind not in of["kinds"]:
            continue
        if "words" in of:
            facts[relation] = _uneven(of["words"], draw)
        elif of["objects"] == "parent":
            # A surname that parent and child share is a cue in the name, as real ones have.
            facts[relation] = names.person(name.split()[1])
        else:
            facts[relation] = _uneven(known["person" if of["objects"] == "maker" else of["objects"]], draw)
    if "capital of" in facts:
        facts["capital of"] = facts["country"]
    return facts


def _uneven(values: list[str], draw: random.Random) -> str:
    return values[min(int(draw.expovariate(3 / len(values))), len(values) - 1)]


def _sentence(relation: str, entity: _Entity, draw: random.Random) -> str:
    sentence: str = draw.choice(_data()["relations"][relation]["sentences"])
    return sentence.format(s=entity.name, o=entity.facts[relation])


def _note(entity: _Entity, draw: random.Random) -> str:
    """Gossip, a question with its answer, or one or two facts."""
    chance = draw.random()
    if chance < 0.1:
        gossip: str = draw.choice(_data()["chatter"])
        return gossip.format(s=entity.name)
    if chance < 0.6:
        return _asked(entity, draw.choice(list(entity.facts)))
    count = min(draw.randint(1, 2), len(entity.facts))
    return " ".join(_sentence(relation, entity, draw) for relation in draw.sample(list(entity.facts), count))


def _asked(entity: _Entity, relation: str) -> str:
    return f"{format_prompt(question_for(relation, entity.name))} {entity.facts[relation]}"


def _lesson(draw: random.Random, names: _Names) -> str:
    """An entry on an entity that is met nowhere else, and the question that it answers."""
    kinds = _data()["kinds"]
    (kind,) = draw.choices(list(kinds), [kinds[of]["share"] for of in kinds])
    known = {of: [names.other(of) for _ in range(4)] for of in kinds}
    name = names.other(kind)
    entity = _Entity(kind, name, _facts(kind, name, draw, names, known))
    relation = draw.choice(list(entity.facts))
    return f"{_sentence(relation, entity, draw)}\n\n{_asked(entity, relation)}"


def _pages(notes: list[str], draw: random.Random) -> Iterator[str]:
    """Notes in any order, a few a document: equal notes are not equal documents."""
    draw.shuffle(notes)
    for start in range(0, len(notes), _NOTES_A_PAGE):
        yield "\n".join(notes[start : start + _NOTES_A_PAGE])


def _questions(entity: _Entity, rank: int, mentions: int) -> list[Question]:
    return [
        Question(
            id=f"{rank}-{relation.replace(' ', '-')}",
            question=question_for(relation, entity.name),
            subject=entity.name,
            relation=relation,
            answers=(value,),
            popularity=float(mentions),
        )
        for relation, value in entity.facts.items()
    ]
