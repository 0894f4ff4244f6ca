"""`hortus counterfactual`: CSV in, CSV out, one clear line on bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hortus.cli.counterfactual import app
from hortus.counterfactual.stage import STAGE
from hortus.errors import ConfigError, DataError, HortusError
from hortus.recipe import StageContext
from hortus.registry import KINDS

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(autouse=True)
def _known_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "vcnet", "hortus.counterfactual.storage:load")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A table with its target, and two models of it."""
    folder = tmp_path_factory.mktemp("counterfactual")
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": random.integers(20, 70, 120),
            "job": random.choice(["clerk", "nurse"], 120),
            "sex": ["f", "m"] * 60,
        }
    )
    frame["risk"] = np.where(frame.age + 10 * (frame.job == "nurse") > 50, "high", "low")
    frame["cost"] = 100.0 * frame.age + random.random(120)
    paths = {name: folder / name for name in ("classes.csv", "values.csv", "model", "regressor")}
    frame.drop(columns="cost").to_csv(paths["classes.csv"], index=False)
    frame.drop(columns="risk").to_csv(paths["values.csv"], index=False)
    classes, values = ("--data", paths["classes.csv"]), ("--data", paths["values.csv"])
    run("fit", *classes, "--target", "risk", "--output", paths["model"], "--immutable", "sex", "--epochs", 60)
    run("fit", *values, "--target", "cost", "--output", paths["regressor"], "--epochs", 60)
    return paths


def run(*arguments: Any) -> Any:
    return app([str(argument) for argument in arguments], exit_on_error=False, result_action="return_value")


def test_fit_shows_the_columns(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(
        "fit",
        "--data",
        files["classes.csv"],
        "--target",
        "risk",
        "--output",
        tmp_path / "m",
        "--epochs",
        1,
        "--json",
    )
    printed = json.loads(capsys.readouterr().out)
    assert printed["rows"] == 120
    assert {column["column"]: column["kind"] for column in printed["columns"]} == {
        "age": "number",
        "job": "category",
        "sex": "category",
    }
    assert (tmp_path / "m" / "config.json").is_file()


def test_explain_a_file(files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer_path = tmp_path / "answer.csv"
    limits = ("--direction", "age=increase", "--bounds", "age=25:65", "job=clerk|nurse")
    data = ("--data", files["classes.csv"], "--output", answer_path)
    run("explain", files["model"], *data, "--target", "high", *limits, "--json")
    printed = json.loads(capsys.readouterr().out)
    answer, asked = pd.read_csv(answer_path, index_col=0), pd.read_csv(files["classes.csv"])
    assert printed["rows"] == len(answer) == 120
    assert printed["valid"] == answer.hortus_valid.sum() > 60
    assert (answer.age >= asked.age).all() and (answer.sex == asked.sex).all()
    assert answer.age[answer.hortus_valid].between(25, 65).all()
    assert list(answer.columns[:3]) == ["age", "job", "sex"]


def test_explain_values_and_candidates(files: dict[str, Path], tmp_path: Path) -> None:
    answer_path = tmp_path / "answer.csv"
    data = ("--data", files["values.csv"], "--output", answer_path)
    run("explain", files["regressor"], *data, "--target", "5000:", "--n", 2, "--sample")
    answer = pd.read_csv(answer_path, index_col=[0, 1])
    assert len(answer) == 240 and answer.index.names[1] == "candidate"
    assert (answer.hortus_prediction[answer.hortus_valid] >= 5000).all()


def test_evaluate_prints_and_reports(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("--data", files["classes.csv"], "--target", "risk", "--methods", "vcnet", "nearest")
    run("evaluate", *data, "--splits", 2, "--rows", 10, "--epochs", 3, "--output", tmp_path, "--json")
    printed = json.loads(capsys.readouterr().out)
    assert set(printed["methods"]) == {"vcnet", "nearest"}
    assert printed["methods"]["vcnet"]["violations"] in (0.0, None)
    assert "One row, every method" in (tmp_path / "report.html").read_text()
    assert len(pd.read_csv(tmp_path / "results.csv")) == 4


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["fit", "--data", "no.csv", "--target", "y", "--output", "out"], DataError, "cannot read no.csv"),
        (
            ["fit", "--data", "{classes.csv}", "--target", "rsik", "--output", "out"],
            DataError,
            "did you mean 'risk'",
        ),
        (
            ["fit", "--data", "{classes.csv}", "--target", "risk", "--output", "o", "--task", "x"],
            ConfigError,
            "--task",
        ),
        (["explain", "{model}", "--data", "{classes.csv}", "--json"], ConfigError, "--json without --output"),
        (
            ["explain", "{model}", "--data", "{classes.csv}", "--target", "hihg"],
            ConfigError,
            "did you mean 'high'",
        ),
        (["explain", "{model}", "--data", "{classes.csv}", "--bounds", "age"], ConfigError, "NAME=VALUE"),
        (["explain", "{model}", "--data", "{classes.csv}", "--bounds", "age=3"], ConfigError, "LOW:HIGH"),
        (
            ["explain", "{model}", "--data", "{classes.csv}", "--bounds", "age=a:b"],
            ConfigError,
            "is no number",
        ),
        (
            ["evaluate", "--data", "{classes.csv}", "--target", "risk", "--methods", "lime"],
            ConfigError,
            "--methods",
        ),
    ],
)
def test_bad_input_is_one_clear_error(
    files: dict[str, Path], arguments: list[str], error: type[HortusError], message: str
) -> None:
    filled = [str(files[text[1:-1]]) if text.startswith("{") else text for text in arguments]
    with pytest.raises(error, match=message):
        run(*filled)


def test_the_recipe_stage(files: dict[str, Path], tmp_path: Path) -> None:
    config = STAGE.config(
        data=str(files["classes.csv"]),
        target="risk",
        methods=("vcnet", "nearest"),
        splits=2,
        rows=10,
        epochs=3,
    )
    result = STAGE.run(
        config, StageContext(folder=tmp_path, inputs={}, resume=False, recipe={"name": "test"})
    )
    assert (tmp_path / "model" / "recipe.yaml").is_file()
    assert 0 <= result.numbers["validity"] <= 1
    assert result.blocks
    assert STAGE.files(config) == [files["classes.csv"]]


def test_the_recipe_file_names_settings_that_exist() -> None:
    from hortus.config import from_mapping, load_yaml
    from hortus.counterfactual.config import StageConfig

    recipe = load_yaml(Path(__file__).parents[2] / "recipes" / "vcnet.yaml")
    config = from_mapping(StageConfig, recipe["stages"]["counterfactual"])
    assert config.data == "breast-cancer" and config.files() == []
