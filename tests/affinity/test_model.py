from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from hortus.affinity.config import ConvolutionConfig, GridConfig, HACNetConfig, PreparationConfig
from hortus.affinity.learning import published_training
from hortus.affinity.ligand import read_ligand
from hortus.affinity.model import HACNet
from hortus.affinity.prediction import describe
from hortus.affinity.receptor import read_receptor
from hortus.affinity.store import ComplexFiles, ComplexStore, find_complexes, prepare_folder
from hortus.errors import ArtifactError, ConfigError, DataError
from tests.affinity.test_networks import complex_of

TINY = HACNetConfig(
    grid=GridConfig(size=16, spacing=2.0),
    convolution=ConvolutionConfig(
        channels=(16, 16, 16),
        kernels=(3, 3, 3, 3, 3),
        strides=(2, 1, 1, 1, 1),
        paddings=(1,) * 5,
        head_width=8,
    ),
)


def training(epochs: int = 2):
    return {
        part: replace(published_training(part), epochs=epochs, batch_size=4, device="cpu")
        for part in ("cnn", "head", "gcn")
    }


@pytest.fixture(scope="module")
def data():
    complexes = [complex_of(seed, 15, 3.0) for seed in range(16)]
    labels = np.array([5 + one.features[:, :3].sum() / 10 for one in complexes])
    return complexes, labels


@pytest.fixture(scope="module")
def fitted(data):
    return HACNet(TINY, training=training(), validation_share=0.4).fit(*data)


def test_the_prediction_is_the_mean_of_the_parts(fitted, data):
    parts = fitted.predict_parts(data[0])
    assert list(parts) == ["cnn", "gcn0", "gcn1"]
    assert fitted.predict(data[0]) == pytest.approx(np.mean(list(parts.values()), axis=0))
    alone = np.concatenate([fitted.predict([one]) for one in data[0]])
    assert alone == pytest.approx(fitted.predict(data[0]), abs=1e-3)


def test_fit_repeats_with_its_seed(fitted, data):
    again = HACNet(TINY, training=training(), validation_share=0.4).fit(*data)
    other = HACNet(TINY, training=training(), validation_share=0.4, seed=5).fit(*data)
    assert again.predict(data[0]) == pytest.approx(fitted.predict(data[0]), abs=1e-5)
    assert not np.allclose(other.predict(data[0]), fitted.predict(data[0]))


def test_training_learns():
    complexes = [complex_of(seed, 15, 3.0) for seed in range(24)]
    labels = np.array([one.features[:, 0].sum() for one in complexes])
    settings = {"gcn": replace(published_training("gcn"), epochs=60, learning_rate=5e-3)}
    model = HACNet(HACNetConfig(parts=("gcn0",)), training=settings, validation_share=0.0).fit(
        complexes, labels
    )
    assert model.score(complexes, labels) > 0.8


def test_save_and_load_give_the_same_numbers(fitted, data, tmp_path):
    fitted.save(tmp_path / "model")
    loaded = HACNet.load(tmp_path / "model")
    assert loaded.predict(data[0]) == pytest.approx(fitted.predict(data[0]), abs=1e-6)
    assert loaded.error_ == fitted.error_ and loaded.config_ == fitted.config_ and loaded.kind == "hacnet"
    assert "pK = -log10" in (tmp_path / "model" / "README.md").read_text()


def test_a_changed_artifact_is_refused(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["hacnet"]["parts"] = ["cnn", "gcn0"]
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match="extra gcn1"):
        HACNet.load(tmp_path / "model")


def test_the_error_bar_covers_what_it_says(fitted):
    random = np.random.default_rng(0)
    complexes = [complex_of(seed, 6) for seed in range(200)]
    truth = fitted.predict(complexes) + random.normal(size=200)
    fitted_copy = HACNet(TINY)
    vars(fitted_copy).update(vars(fitted))
    fitted_copy.calibrate(complexes[:100], truth[:100])
    half = fitted_copy.error_["half_width_95%"]
    inside = np.abs(fitted_copy.predict(complexes[100:]) - truth[100:]) <= half
    assert 0.88 <= inside.mean() <= 1.0 and half > fitted_copy.error_["half_width_68%"]


def test_scikit_learn_clones_it():
    base = pytest.importorskip("sklearn.base")
    clone = base.clone(HACNet("graph", seed=3))
    assert clone.seed == 3 and clone.config == "graph"
    with pytest.raises(ConfigError, match="no parameter 'sede'"):
        clone.set_params(sede=1)


@pytest.mark.parametrize(
    ("labels", "message"), [([1.0, 2.0], "labels for 16"), ([float("nan")] * 16, "one finite number each")]
)
def test_bad_labels_are_named(data, labels, message):
    with pytest.raises(DataError, match=message):
        HACNet(TINY).fit(data[0], labels)


def test_prediction_before_fit_is_named(data):
    with pytest.raises(ConfigError, match="not fitted"):
        HACNet(TINY).predict(data[0])


def test_attribution_adds_up(data):
    from hortus.affinity.attribution import atom_shares

    model = HACNet(HACNetConfig(parts=("gcn0",)), training=training(1), validation_share=0.0).fit(*data)
    one = data[0][0]
    from hortus.affinity.graph_network import graph_batch

    network = model.networks_["gcn0"]
    with torch.no_grad():
        pooled = network.contributions(graph_batch([one])).sum(0, keepdim=True)
    constant = (network.output(pooled) - torch.func.jvp(network.output, (pooled,), (pooled,))[1]).item()
    total = atom_shares(model, one).sum() + constant + model.config_.label_mean
    assert total == pytest.approx(model.predict([one])[0], abs=1e-4)


def test_files_to_predictions_and_pictures(example, store, tmp_path):
    from hortus.affinity.attribution import atom_shares, draw_ligand, write_shares
    from hortus.affinity.complexes import prepare_complex

    model = HACNet(TINY, training=training(1), validation_share=0.0).fit(store, [4.7, 3.4, 2.2])
    pocket, file = example / "exa1" / "exa1_pocket.pdb", example / "exa1" / "exa1_ligand.sdf"
    (tmp_path / "poses.sdf").write_text(file.read_text() + "nothing\n$$$$\n" + file.read_text())
    good, bad, same = model.predict_files(pocket, tmp_path / "poses.sdf")
    assert good.value == pytest.approx(model.predict([store[0]])[0], abs=1e-4) and good.value == same.value
    assert (
        np.isnan(bad.value) and "no MOL block" in bad.reason and good.parts.keys() == {"cnn", "gcn0", "gcn1"}
    )
    receptor, ligand = read_receptor(pocket), read_ligand(file)
    one = prepare_complex(receptor, ligand)
    shares = atom_shares(model, one)
    write_shares(tmp_path / "shares.pdb", one, shares, receptor, ligand)
    written = read_receptor(tmp_path / "shares.pdb")
    assert len(written) == len(one)
    assert np.allclose(written.positions, one.positions + one.center, atol=2e-3)
    assert draw_ligand(ligand, shares[: one.num_ligand_atoms]).startswith("<svg")


def test_mass_outside_the_training_range_is_said(store):
    model = HACNet(TINY, training=training(1), validation_share=0.0).fit(store, [4.7, 3.4, 2.2])
    heavy = replace(store[0], ligand_mass=900.0)
    assert any("outside the training range" in text for text in describe(model, [heavy])[0].warnings)


# The store


def test_a_store_holds_what_was_prepared(store, example):
    from hortus.affinity.complexes import read_complex

    assert store.names == ["exa1", "exa2", "exa3"] and not store.skipped
    files = find_complexes(example)[1]
    fresh = read_complex(files.receptor, files.ligand)
    for field in ("positions", "features", "radii"):
        assert (getattr(store[1], field) == getattr(fresh, field)).all()
    assert store[1].smiles == fresh.smiles and [one.name for one in store[1:]] == ["exa2", "exa3"]


def test_preparation_goes_on_and_lists_what_it_skips(example, tmp_path):
    files = find_complexes(example)
    prepare_folder(files[:2], tmp_path / "s")
    with (tmp_path / "s" / "index.jsonl").open("a") as file:
        file.write('{"name": "cut sho')
    with (tmp_path / "s" / "atoms.f32").open("ab") as file:
        file.write(b"left over")
    (tmp_path / "bad.sdf").write_text("nothing")
    broken = ComplexFiles("broken", files[0].receptor, tmp_path / "bad.sdf")
    store = prepare_folder([*files, broken], tmp_path / "s", jobs=2)
    whole = prepare_folder(files, tmp_path / "whole")
    assert sorted(store.names) == ["exa1", "exa2", "exa3"] and "broken" in store.skipped
    assert (store[2].features == whole[2].features).all()
    with pytest.raises(ConfigError, match="other settings"):
        prepare_folder(files, tmp_path / "s", PreparationConfig(water=False))
    with pytest.raises(DataError, match="comes twice"):
        prepare_folder([files[0], files[0]], tmp_path / "t")


def test_a_short_store_is_refused(example, tmp_path):
    prepare_folder(find_complexes(example), tmp_path / "s")
    (tmp_path / "s" / "atoms.f32").write_bytes(b"1234")
    with pytest.raises(ArtifactError, match="shorter than its index"):
        ComplexStore(tmp_path / "s")
