"""Students: which tensor of the teacher each of theirs is, shapes, widths, what transformers reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hortus.distillation.config import DistillationConfig
from hortus.distillation.student import choose_layers, copy_layers, make_student
from hortus.errors import ConfigError
from hortus.models import build_network, save_network
from hortus.models.bert import Bert, BertConfig
from hortus.models.bloom import Bloom, BloomConfig
from hortus.models.distilbert import DistilBertConfig
from hortus.models.distilbert import published as published_distilbert
from hortus.models.t5 import T5, T5Config

SHAPE: dict[str, Any] = {"vocab_size": 40, "hidden_size": 24, "num_heads": 3}


def teachers() -> dict[str, Any]:
    torch.manual_seed(0)
    return {
        "bert": Bert(BertConfig(**SHAPE, num_layers=12, intermediate_size=48, max_positions=16)),
        "bloom": Bloom(BloomConfig(**SHAPE, num_layers=6)),
        "t5": T5(T5Config(**SHAPE, num_layers=4, num_decoder_layers=6, head_size=8, inner_size=48)),
    }


def test_the_published_layers_of_bert() -> None:
    teacher = teachers()["bert"]
    student = make_student(teacher, DistillationConfig(layers=6))
    assert student.model_type == "distilbert"
    own, theirs = dict(student.named_parameters()), dict(teacher.named_parameters())
    for name, parameter in own.items():
        origin = name
        if name.startswith("blocks."):
            _, number, rest = name.split(".", 2)
            origin = f"blocks.{[0, 2, 4, 7, 9, 11][int(number)]}.{rest}"
        assert torch.equal(parameter, theirs[origin]), name
    assert set(theirs) - {f"blocks.{i}" for i in range(12)} >= {"token_type_embedding.weight"}
    assert not any(name.startswith("token_type") for name in own)


@pytest.mark.parametrize("kind", ["bloom", "t5"])
def test_half_depth_of_the_other_families(kind: str) -> None:
    teacher = teachers()[kind]
    student = make_student(teacher, DistillationConfig())
    theirs = dict(teacher.named_parameters())
    lists = {"bloom": {"": [0, 3, 5]}, "t5": {"encoder.": [0, 3], "decoder.": [0, 3, 5]}}[kind]
    checked = 0
    for name, parameter in student.named_parameters():
        origin = name
        for stack, layers in lists.items():
            if name.startswith(f"{stack}blocks."):
                number, rest = name[len(f"{stack}blocks.") :].split(".", 1)
                origin = f"{stack}blocks.{layers[int(number)]}.{rest}"
                checked += 1
        assert torch.equal(parameter, theirs[origin]), name
    assert checked


def test_the_head_transform_is_optional_and_positions_may_be_frozen() -> None:
    teacher = teachers()["bert"]
    settings = DistillationConfig(copy_head_transform=False, freeze_positions=True)
    student = make_student(teacher, settings)
    fresh = copy_layers(teacher, student, settings)
    assert sorted(fresh) == sorted(
        f"masked_head.{part}.{kind}" for part in ("norm", "transform") for kind in ("weight", "bias")
    )
    assert not torch.equal(student.masked_head.transform.weight, teacher.masked_head.transform.weight)
    assert torch.equal(student.masked_head.bias, teacher.masked_head.bias)
    assert not student.position_embedding.weight.requires_grad
    assert torch.equal(student.position_embedding.weight, teacher.position_embedding.weight)


def test_random_initialisation_copies_nothing() -> None:
    teacher = teachers()["bloom"]
    student = make_student(teacher, DistillationConfig(initialization="random"))
    assert not torch.equal(student.embedding.weight, teacher.embedding.weight)


@pytest.mark.parametrize("kind", ["bert", "bloom", "t5"])
def test_a_narrow_student_has_the_first_columns_and_heads(kind: str) -> None:
    teacher = teachers()[kind]
    student = make_student(teacher, DistillationConfig(layers=2, width=16))
    assert (student.config.hidden_size, student.config.num_heads) == (16, 2)
    assert torch.equal(student.embedding.weight, teacher.embedding.weight[:, :16])
    ids = torch.randint(40, (2, 5))
    if kind == "bert":
        first = student.blocks[0]
        assert torch.equal(first.attention.query.weight, teacher.blocks[0].attention.query.weight[:16, :16])
        assert torch.equal(first.expand.weight, teacher.blocks[0].expand.weight[:32, :16])
    if kind == "bloom":  # rows of the fused weight are grouped by head: two heads of three of 8 rows
        fused = next(p for n, p in teacher.blocks[0].attention.named_parameters() if p.shape == (72, 24))
        own = next(p for n, p in student.blocks[0].attention.named_parameters() if p.shape == (48, 16))
        assert torch.equal(own, fused[:48, :16])
    more = (ids,) if kind == "t5" else ()
    assert student(ids, *more).shape == (2, 5, 40)


def test_the_shape_of_the_published_student() -> None:
    from hortus.distillation.student import student_config

    with torch.device("meta"):
        teacher = Bert(BertConfig())
    config = DistilBertConfig.from_hugging_face(student_config(teacher, DistillationConfig(layers=6)))
    assert config == published_distilbert("base-uncased")
    assert config.num_parameters == 66_985_530


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layers": 13}, "larger than its teacher"),
        ({"layers": 2, "layer_list": (0, 12)}, "layer 12.*0 to 11"),
        ({"layers": 3, "layer_list": (0, 1)}, "layer_list has 2 layers.*3"),
        ({"width": 20}, "width=20.*multiples of the head width 8"),
        ({"width": 48}, "width=48.*at most the teacher's 24"),
    ],
)
def test_impossible_students(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_student(teachers()["bert"], DistillationConfig(**changes))


def test_choices_of_layers() -> None:
    assert choose_layers(24, 12) == [0, 2, 4, 6, 8, 10, 13, 15, 17, 19, 21, 23]
    assert choose_layers(12, 1) == [0] and choose_layers(5, 5) == [0, 1, 2, 3, 4]
    assert choose_layers(12, 4, "stride") == [0, 3, 6, 9]
    assert choose_layers(12, 2, chosen=(11, 0)) == [11, 0]


@pytest.mark.parametrize("kind", ["bert", "bloom", "t5"])
def test_saved_students_open_in_transformers(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    student = make_student(teachers()[kind], DistillationConfig(width=16)).eval()
    save_network(student, tmp_path / "student")
    opener = {"bert": "AutoModelForMaskedLM", "bloom": "AutoModelForCausalLM", "t5": "AutoModelForSeq2SeqLM"}
    peer, report = getattr(transformers, opener[kind]).from_pretrained(
        tmp_path / "student", output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    ids = torch.randint(4, 40, (2, 5))
    more = {"decoder_input_ids": ids} if kind == "t5" else {}
    with torch.no_grad():
        theirs = peer.eval()(input_ids=ids, **more).logits
        torch.testing.assert_close(student(ids, **more), theirs, rtol=0, atol=1e-4)


def test_a_student_of_a_student() -> None:
    network = build_network(DistilBertConfig(**SHAPE, num_layers=4, max_positions=8).to_hugging_face())
    student = make_student(network, DistillationConfig())
    assert student.model_type == "distilbert" and student.config.num_layers == 2
