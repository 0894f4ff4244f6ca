"""Recipes: checked before they run, cached by content, resumable, locked."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from hortus import registry
from hortus.errors import ConfigError
from hortus.recipe import Stage, StageContext, StageResult, lock_folder, read_recipe, run_recipe
from hortus.report import Curves, Samples, Table, Text

calls: list[str] = []


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    files: tuple[Path, ...] = ()
    word: str = "a"


@dataclass(frozen=True, kw_only=True)
class CountConfig:
    fail: bool = False
    stop: bool = False


def run_source(config: SourceConfig, context: StageContext) -> StageResult:
    calls.append("source")
    (context.folder / "text").write_text(config.word + "".join(path.read_text() for path in config.files))
    return StageResult(numbers={"length": 1}, blocks=[Text("Source", "A <b>text</b>.")])


def run_count(config: CountConfig, context: StageContext) -> StageResult:
    calls.append("count again" if context.resume else "count")
    (context.folder / "partial").write_text("half")
    if config.fail:
        raise RuntimeError("interrupted")
    text = (context.inputs["source"] / "text").read_text()
    blocks = [
        Table("Counts", ["text", "length"], [[text, len(text)]]),
        Curves("Loss", "step", "loss", {"train": ([1, 2], [3.0, 2.0])}),
        Samples("Samples", [("Hello", "world & <more>")]),
    ]
    return StageResult(
        numbers={"length": len(text)}, blocks=blocks, stopped="stopped" if config.stop else None
    )


SOURCE = Stage(config=SourceConfig, run=run_source, files=lambda config: config.files)
COUNT = Stage(config=CountConfig, run=run_count, needs=("source",))


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    calls.clear()
    table = SimpleNamespace(SOURCE=SOURCE, COUNT=COUNT)
    monkeypatch.setitem(sys.modules, "recipe_test_stages", table)
    monkeypatch.setattr(
        registry, "STAGES", {"source": "recipe_test_stages:SOURCE", "count": "recipe_test_stages:COUNT"}
    )
    path = tmp_path / "recipe.yaml"
    stages = {"source": {}, "n": {"stage": "count"}}
    source = {"name": "test", "folder": str(tmp_path / "run"), "stages": stages}
    path.write_text(yaml.safe_dump(source, sort_keys=False))
    return path


def test_a_second_run_takes_every_stage_from_the_cache(recipe: Path) -> None:
    first = run_recipe(read_recipe(recipe))
    second = run_recipe(read_recipe(recipe))
    assert calls == ["source", "count"]
    assert second.cached == ("source", "n")
    assert second.numbers == first.numbers == {"source": {"length": 1}, "n": {"length": 1}}


def test_a_changed_setting_runs_its_stage_and_those_after_it(recipe: Path) -> None:
    run_recipe(read_recipe(recipe))
    result = run_recipe(read_recipe(recipe, ["source.word=long"]))
    assert calls == ["source", "count"] * 2
    assert result.numbers["n"]["length"] == 4
    run_recipe(read_recipe(recipe, ["source.word=long", "n.fail=false"]))
    assert calls == ["source", "count"] * 2


def test_a_changed_file_is_a_changed_key(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1")
    settings = [f"source.files=[{tmp_path / 'a.txt'}]"]
    run_recipe(read_recipe(recipe, settings))
    (tmp_path / "a.txt").write_text("2")
    assert run_recipe(read_recipe(recipe, settings)).cached == ()


def test_a_setting_can_name_the_run_s_folder(recipe: Path, tmp_path: Path) -> None:
    result = run_recipe(read_recipe(recipe, ["source.word='{folder}/x'", f"folder={tmp_path / 'other'}"]))
    assert (tmp_path / "other" / "source" / "text").read_text() == f"{tmp_path / 'other'}/x"
    assert result.numbers["n"]["length"] == len(f"{tmp_path / 'other'}/x")


def test_an_interrupted_stage_goes_on_only_with_resume_and_is_kept_otherwise(
    recipe: Path, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError):
        run_recipe(read_recipe(recipe, ["n.fail=true"]))
    with pytest.raises(RuntimeError):
        run_recipe(read_recipe(recipe, ["n.fail=true"]), resume=True)
    with pytest.raises(RuntimeError):
        run_recipe(read_recipe(recipe, ["n.fail=true"]))
    assert calls == ["source", "count", "count again", "count"]
    assert (tmp_path / "run" / "n.previous" / "partial").read_text() == "half"


def test_a_stage_that_stops_on_request_is_not_done(recipe: Path) -> None:
    assert run_recipe(read_recipe(recipe, ["n.stop=true"])).stopped == "stopped"
    run_recipe(read_recipe(recipe, ["n.stop=true"]), resume=True)
    assert calls == ["source", "count", "count again"]


def test_until_runs_no_further(recipe: Path) -> None:
    assert list(run_recipe(read_recipe(recipe), until="source").numbers) == ["source"]
    with pytest.raises(ConfigError, match="did you mean 'source'"):
        run_recipe(read_recipe(recipe), until="sourc")


def test_the_report_is_one_escaped_page_without_network(recipe: Path) -> None:
    page = run_recipe(read_recipe(recipe)).report.read_text()
    assert "A &lt;b&gt;text&lt;/b&gt;." in page and "world &amp; &lt;more&gt;" in page
    assert "<svg" in page and "<script" not in page
    assert "default-src 'none'" in page
    assert "Cost" in page and "Environment" in page


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["sorce.word=x"], "no stage 'sorce'; did you mean 'source'"),
        (["source.wrod=x"], r"source\.wrod.*did you mean 'word'"),
        (["source.stage=soruce"], "unknown kind 'soruce'; did you mean 'source'"),
        (["source.stage=count"], "needs a stage of kind 'source' before it"),
    ],
)
def test_mistakes_are_found_before_anything_runs(recipe: Path, assignments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_recipe(recipe, assignments)
    assert calls == []


@pytest.mark.parametrize("text", ["stages: {}\n", "name: x\nfolder: y\nstages: [1]\n", "nme: x\n"])
def test_a_recipe_without_its_parts_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigError):
        read_recipe(tmp_path / "r.yaml")


def test_two_runs_cannot_share_a_folder(tmp_path: Path) -> None:
    code = f"from hortus.recipe import lock_folder\nwith lock_folder({str(tmp_path)!r}): pass"
    with lock_folder(tmp_path):
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "is in use by another run (process" in other.stderr
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
