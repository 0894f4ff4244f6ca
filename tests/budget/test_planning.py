"""The published decision comes out of the rules, and moves with every input."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from hortus.budget.config import PlanConfig
from hortus.budget.estimate import Layout, estimate_step, logged_teraflops
from hortus.budget.hardware import known_devices
from hortus.budget.planning import Candidate, Plan, plan
from hortus.budget.running import learning_rate, megatron_arguments, recipe
from hortus.cli import main
from hortus.errors import ConfigError
from hortus.models.bloom.config import PUBLISHED, BloomConfig
from hortus.recipe import read_recipe

PAPER = PlanConfig(
    gpu_hours=1_161_261,
    gpu="a100-80gb",
    tokens=400e9,
    tensor_parallel=4,
    pipeline_parallel=12,
    head_width=128,
    flash_attention=False,  # there was none for ALiBi then
    checkpointing=True,
)


@pytest.fixture(scope="module")
def paper() -> Plan:
    return plan(PAPER)


def candidate(made: Plan, name: str) -> Candidate:
    return next(one for one in made.candidates if one.name == name)


def test_the_published_choice(paper: Plan) -> None:
    assert paper.chosen.name == "70 × 14336 × 112"
    assert (paper.gpus, paper.chosen.batch_size, paper.chosen.layout.micro_batch) == (384, 2048, 2)
    assert 400e9 < paper.chosen.tokens < 430e9
    assert [one.verdict for one in paper.candidates].count("chosen") == 1
    assert all(one.verdict for one in paper.candidates)


@pytest.mark.parametrize(
    ("name", "parameters", "gigabytes", "teraflops", "why"),
    [
        ("82 × 13312 × 64", 177_727_952_896, 63, 152, "heads of 208 are too wide"),
        ("82 × 13312 × 128", 177_727_952_896, 60, 146, "sees 39"),
        ("70 × 14336 × 112", 176_247_271_424, 59, 150, "chosen"),
    ],
)
def test_the_published_candidates(
    paper: Plan, name: str, parameters: int, gigabytes: float, teraflops: float, why: str
) -> None:
    one = candidate(paper, name)
    assert one.parameters == parameters
    assert one.memory.total / 1e9 == pytest.approx(gigabytes, rel=0.15)
    assert one.teraflops == pytest.approx(teraflops, rel=0.03)
    assert why in one.verdict


def test_the_published_order_of_speed(paper: Plan) -> None:
    names = ["82 × 13312 × 64", "70 × 14336 × 112", "82 × 13312 × 128"]
    speeds = [candidate(paper, name).teraflops for name in names]
    assert speeds == sorted(speeds, reverse=True)


@pytest.mark.parametrize(
    ("heads", "batch", "data", "tensor", "logged", "within"),
    [
        (64, 2048, 8, 4, 153.7, 0.03),
        (128, 2048, 8, 4, 148.1, 0.03),
        (112, 512, 8, 4, 113.5, 0.03),
        (112, 1024, 8, 4, 136.0, 0.03),
        (112, 1536, 8, 4, 146.6, 0.03),
        (112, 2048, 4, 8, 128.9, 0.16),
    ],
)
def test_the_rest_of_the_published_log(
    heads: int, batch: int, data: int, tensor: int, logged: float, within: float
) -> None:
    layout = Layout(
        data_parallel=data,
        tensor_parallel=tensor,
        pipeline_parallel=12,
        micro_batch=2,
        flash_attention=False,
    )
    shape = dataclasses.replace(PUBLISHED["176b"], num_heads=heads)
    found = logged_teraflops(shape, layout, known_devices()["a100-80gb"], batch, 2048)
    assert found == pytest.approx(logged, rel=within)


@pytest.mark.parametrize(
    "change",
    [
        {"gpu_hours": 600_000},
        {"gpu": "h100-80gb"},
        {"tokens": 300e9},
        {"tokens": None},
        {"tensor_parallel": 8},
        {"pipeline_parallel": 8},
        {"head_width": 208},
        {"depth_tolerance": 0.1},
        {"reserve": 0.3},
        {"serving_tokens": 1e12},
        {"failures_per_year": 6.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_input_moves_the_choice(change: dict[str, Any]) -> None:
    assert plan(dataclasses.replace(PAPER, **change)).chosen.name != "70 × 14336 × 112"


def test_an_unconstrained_call_recommends_less_model_and_more_text() -> None:
    free = plan(PlanConfig(gpu_hours=1_161_261))
    assert 40e9 < free.chosen.parameters < 80e9
    assert free.chosen.tokens > 900e9
    kaplan = plan(PlanConfig(gpu_hours=1_161_261, law="kaplan"))
    assert kaplan.chosen.parameters > 3 * free.chosen.parameters


def test_little_text_and_much_serving_make_models_larger_and_smaller() -> None:
    base = PlanConfig(gpu_hours=200_000)
    free = plan(base).chosen
    scarce = plan(dataclasses.replace(base, languages=("en=100e9",), max_epochs=50)).chosen
    served = plan(dataclasses.replace(base, serving_tokens=1e12)).chosen
    assert scarce.parameters > free.parameters > served.parameters
    assert served.serving_hours > 0
    with pytest.raises(ConfigError, match=r"reads the text .* times, 1 are allowed"):
        plan(dataclasses.replace(base, languages=("en=400e9",), tokens=500e9, max_epochs=1))


def test_energy_and_carbon_as_published() -> None:
    # 433,196 kWh and 24.7 t for 1,082,990 hours at 0.4 kW and 57 g.
    made = plan(dataclasses.replace(PAPER, gpu_hours=1_082_990 / 0.95, overhead=1.0, country="57"))
    assert made.energy_kwh == pytest.approx(433_196, rel=0.01)
    assert made.carbon_kg == pytest.approx(24_700, rel=0.01)


def test_pipelines_wait() -> None:
    layout = Layout(pipeline_parallel=12, tensor_parallel=4, data_parallel=8)
    shape, device = PUBLISHED["176b"], known_devices()["a100-80gb"]
    seconds = estimate_step(shape, layout, device, 8 * 12, 2048)
    assert seconds.bubble / (seconds.compute + seconds.links) == pytest.approx(11 / 12, rel=1e-6)


def test_settings_as_of_the_published_runs() -> None:
    published = {"560m": 3e-4, "1b1": 2.5e-4, "1b7": 2e-4, "3b": 1.6e-4, "7b1": 1.2e-4, "176b": 6e-5}
    for name, rate in published.items():
        assert learning_rate(PUBLISHED[name].num_parameters) == pytest.approx(rate, rel=0.25)


def test_the_recipe_is_one(tmp_path: Path) -> None:
    import yaml

    made = plan(PlanConfig(gpu_hours=24, vocab_size=32_000))
    written = recipe(made)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
    stages = {stage.name: stage.config for stage in read_recipe(tmp_path / "recipe.yaml").stages}
    shape = made.chosen.shape
    assert (stages["training"].hidden_size, stages["training"].num_layers) == (
        shape.hidden_size,
        shape.num_layers,
    )
    assert stages["training"].steps == made.chosen.steps
    assert stages["tokenizer"].vocab_size == 32_000


def test_megatron_gets_the_pipeline(paper: Plan) -> None:
    arguments = megatron_arguments(paper)
    assert "--pipeline-model-parallel-size 12" in arguments
    assert "--init-method-std 0.0048" in arguments  # as all published runs
    assert f"--train-samples {paper.chosen.steps * 2048}" in arguments


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gpu": "a100"}, "gpu='a100'.*did you mean 'a100-"),
        ({"law": "chinchila"}, "law='chinchila'.*did you mean 'chinchilla'"),
        ({"gpus": 100}, "gpus=100 does not divide.*48"),
        ({"languages": ("eng",)}, "'eng' is not one of ROOTS"),
        ({"languages": ("en=many",)}, "CODE=TOKENS"),
        ({"tokens": 1e18}, "no shape passes"),
        ({"batch_size": 100}, "batch_size=100 does not divide"),
        ({"country": "FRX"}, "grid 'FRX'"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(dataclasses.replace(PAPER, **change))


def test_settings_are_checked() -> None:
    for wrong in ({"gpu_hours": 0}, {"gpu_hours": 1, "reserve": 1.0}, {"gpu_hours": 1, "price": -1.0}):
        with pytest.raises(ConfigError):
            PlanConfig(**wrong)  # type: ignore[arg-type]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["budget", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--gpu-hours", "1161261", "--tokens", "400e9", "--pipeline-parallel", "12"]
    options += ["--tensor-parallel", "4", "--country", "FRA", "--languages", "roots"]
    assert run("plan", *options, "--output", str(tmp_path), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["chosen"]["num_layers"] == 70
    assert found["costs"]["grid"] == "France 2023, 56 g/kWh"
    assert any("pipeline parallelism" in line for line in found["warnings"])
    assert "Over-training to the same loss" in (tmp_path / "plan.html").read_text()
    assert (tmp_path / "megatron.txt").read_text().startswith("--num-layers 70\n")
    read_recipe(tmp_path / "recipe.yaml", ["training.micro_batch_size=2"])
    assert run("plan", *options, "--show", "3") == 0
    assert "70 × 14336 × 112" in capsys.readouterr().out
    assert run("plan", "--gpu-hours", "-1") == 2
    assert "gpu_hours=-1" in capsys.readouterr().err


def test_shapes_on_this_machine_need_no_links() -> None:
    device = dataclasses.replace(known_devices()["a100-80gb"], link=float("inf"), network=float("inf"))
    shape = BloomConfig(vocab_size=1000, hidden_size=256, num_layers=4, num_heads=4)
    seconds = estimate_step(shape, Layout(micro_batch=2), device, 4, 128)
    assert seconds.links == seconds.bubble == 0
    assert seconds.total > 0
