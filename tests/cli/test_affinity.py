from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("rdkit")
pytest.importorskip("gemmi")

from hortus import registry
from hortus.affinity.config import FitConfig
from hortus.affinity.example import write_example
from hortus.cli import affinity as command
from hortus.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    write_example(folder / "data")
    return folder


@pytest.fixture(scope="module")
def trained(place: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.KINDS, "hacnet", "hortus.affinity.model:HACNet.load")
        command.prepare((place / "data",), output=place / "store")
        command.train(
            place / "store",
            output=place / "model",
            measured=command.Measured(labels=place / "data" / "labels.csv"),
            fit=FitConfig(epochs={"cnn": 1, "head": 1, "gcn": 1}, validation_share=0.0),
        )
    return place


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.KINDS, "hacnet", "hortus.affinity.model:HACNet.load")


def test_predict_writes_csv_with_unit_and_reasons(trained, capsys, tmp_path):
    file = trained / "data" / "exa1" / "exa1_ligand.sdf"
    poses = tmp_path / "poses.sdf"
    poses.write_text(file.read_text() + "broken\n$$$$\n" + file.read_text())
    protein = trained / "data" / "exa1" / "exa1_pocket.pdb"
    capsys.readouterr()
    command.predict(model=str(trained / "model"), protein=protein, ligands=poses)
    lines = capsys.readouterr().out.splitlines()
    assert "higher binds tighter" in lines[0]
    rows = list(csv.DictReader(lines[2:]))
    assert [bool(row["value"]) for row in rows] == [True, False, True] and rows[1]["failed_because"]
    command.predict(model=str(trained / "model"), protein=protein, ligands=poses, jobs=2, json=True)
    found = json.loads(capsys.readouterr().out)["predictions"]
    assert [one["value"] is None for one in found] == [False, True, False]
    assert found[0]["value"] == pytest.approx(float(rows[0]["value"]), abs=2e-3)


def test_predict_writes_sdf_and_attribution(trained, tmp_path):
    from rdkit import Chem

    data = trained / "data"
    command.predict(
        model=str(trained / "model"),
        protein=data / "exa2" / "exa2_pocket.pdb",
        ligands=data / "exa2" / "exa2_ligand.sdf",
        output=tmp_path / "out.sdf",
        attribution=tmp_path / "shares",
    )
    (molecule,) = Chem.SDMolSupplier(str(tmp_path / "out.sdf"), removeHs=False)
    assert {"hortus_value", "hortus_gcn0", "hortus_target"} <= set(molecule.GetPropNames())
    assert (tmp_path / "shares" / "pose-1.pdb").is_file() and (tmp_path / "shares" / "pose-1.svg").is_file()


def test_flags_reach_the_settings(place):
    _, bound, _ = command.app.parse_args(
        ["train", "S", "--output", "M", "--labels", "L", "--epochs.gcn", "7", "--size", "graph"]
    )
    assert bound.arguments["fit"] == FitConfig(size="graph", epochs={"gcn": 7})
    assert bound.arguments["measured"] == command.Measured(labels=Path("L"))


def test_evaluate_shows_baselines(trained, capsys, tmp_path):
    measured = command.Measured(labels=trained / "data" / "labels.csv")
    (tmp_path / "s.json").write_text(json.dumps({"train": ["exa1", "exa2"], "test": ["exa3", "exa2 "]}))
    divided = replace(measured, split=tmp_path / "s.json")
    with pytest.raises(DataError, match="1 complexes of side 'test'"):
        command.evaluate(trained / "store", model=str(trained / "model"), measured=divided)
    capsys.readouterr()
    command.evaluate(trained / "store", model=str(trained / "model"), measured=measured, json=True)
    assert {"HAC-Net", "cnn", "gcn0"} <= set(json.loads(capsys.readouterr().out))
    with pytest.raises(ConfigError, match="no side 'tset'"):
        command.evaluate(trained / "store", model=str(trained / "model"), measured=divided, side="tset")


@pytest.mark.parametrize("by", ["random", "scaffold", "ligand", "sequence"])
def test_split(trained, tmp_path, by, capsys):
    command.split(trained / "store", output=tmp_path / "s.json", by=by, data=(trained / "data",), test=0.34)
    made = json.loads((tmp_path / "s.json").read_text())
    assert sorted(sum(made.values(), [])) == ["exa1", "exa2", "exa3"]


def test_the_recipe_runs_on_the_example(tmp_path, monkeypatch):
    from hortus.recipe import read_recipe, run_recipe

    monkeypatch.setitem(registry.STAGES, "complexes", "hortus.affinity.stage:COMPLEXES")
    monkeypatch.setitem(registry.STAGES, "affinity", "hortus.affinity.stage:STAGE")
    recipe = Path(__file__).parents[2] / "recipes" / "affinity.yaml"
    settings = [
        "affinity.epochs={gcn: 1, cnn: 1, head: 1}",
        "complexes.jobs=1",
        f"folder={tmp_path / 'run'}",
        "affinity.size=graph",
    ]
    result = run_recipe(read_recipe(recipe, [*settings, "affinity.folds=3"]))
    assert result.numbers["complexes"]["complexes"] == 3 and result.report.is_file()
    rows = result.numbers["affinity"]["cross_validation"]
    assert {"HAC-Net", "ligand mass", "nearest ligand", "mean"} <= {row["predictor"] for row in rows}
    import hortus

    assert hortus.load(tmp_path / "run" / "affinity" / "model").kind == "hacnet"
