"""Fits recover planted constants within their intervals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hortus.budget.config import FitConfig
from hortus.budget.fitting import Fit, _huber, fit_runs
from hortus.budget.laws import CHINCHILLA, Law, find_law
from hortus.budget.runs import Run, read_runs
from hortus.cli import main
from hortus.errors import ConfigError, DataError

PLANTED = Law(
    name="planted",
    origin="",
    irreducible=1.6,
    scale_parameters=80.0,
    scale_tokens=300.0,
    exponent_parameters=0.32,
    exponent_tokens=0.36,
)
SIZES = np.geomspace(1e6, 3e7, 7)
CONSTANTS = ("irreducible", "scale_parameters", "scale_tokens", "exponent_parameters", "exponent_tokens")


def invented_runs(seed: int, noise: float = 0.002, law: Law = PLANTED) -> list[Run]:
    """Seven sizes on three lengths each; a run's curve follows the law, scattered as a whole."""
    random = np.random.default_rng(seed)
    runs = []
    for size in SIZES:
        for longest in (3e7, 2e8, 1.5e9):
            tokens = np.geomspace(longest / 30, longest, 12)
            factor = np.exp(noise * random.standard_normal())
            losses = tuple(float(factor * law.loss(size, one)) for one in tokens)
            runs.append(Run(f"{size:.0f}-{longest:.0f}", float(size), tuple(map(float, tokens)), losses))
    return runs


@pytest.fixture(scope="module")
def fitted() -> Fit:
    return fit_runs(invented_runs(3), FitConfig(bootstrap=60))


@pytest.mark.parametrize("name", CONSTANTS)
def test_planted_constants_are_inside_their_intervals(fitted: Fit, name: str) -> None:
    low, high = fitted.intervals[name]
    assert low <= getattr(PLANTED, name) <= high
    assert low < getattr(fitted.law, name) < high


def test_all_three_ways_find_the_allocation(fitted: Fit) -> None:
    true = 0.36 / (0.32 + 0.36)
    for way in ("envelope", "profiles", "parametric"):
        found = fitted.allocations[way]
        assert found is not None
        assert found[0] == pytest.approx(true, abs=0.08), way
        assert found[1] <= found[0] <= found[2], way


def test_without_noise_the_constants_are_exact() -> None:
    exact = fit_runs(invented_runs(0, noise=0.0), FitConfig(bootstrap=20)).law
    for name in CONSTANTS:
        assert getattr(exact, name) == pytest.approx(getattr(PLANTED, name), rel=2e-3)


def test_predictions_hold_the_truth_and_widen_with_distance(fitted: Fit) -> None:
    most = fitted.law.most_flops
    assert most == pytest.approx(6 * 3e7 * 1.5e9)
    widths = []
    for factor in (1, 5, 1000):
        predicted = fitted.predict(factor * most)
        true = PLANTED.loss(*PLANTED.optimum(factor * most))
        assert predicted.loss[1] <= true <= predicted.loss[2]
        widths.append((predicted.parameters[2] - predicted.parameters[1]) / predicted.parameters[0])
        assert bool(predicted.warning) == (factor > 10)
    assert widths == sorted(widths)
    assert "1,000 times" in fitted.predict(1000 * most).warning


def test_an_outlier_hardly_moves_the_fit() -> None:
    runs = invented_runs(1)
    bad = runs[4]
    runs[4] = Run(bad.name, bad.parameters, bad.tokens, tuple(1.5 * loss for loss in bad.losses))
    law = fit_runs(runs, FitConfig(bootstrap=20)).law
    assert law.irreducible == pytest.approx(PLANTED.irreducible, rel=0.05)


def test_the_gradient_is_that_of_the_formula() -> None:
    from scipy.optimize import check_grad

    random = np.random.default_rng(0)
    logs = [random.normal(size=9) + shift for shift in (16, 20, 1)]
    start = np.array([3.0, 4.0, 0.3, 0.4, 0.3])

    def written_out(constants: np.ndarray) -> float:
        a, b, e, alpha, beta = constants
        model = np.log(np.exp(a - alpha * logs[0]) + np.exp(b - beta * logs[1]) + np.exp(e))
        off = np.abs(model - logs[2])
        return float(np.where(off <= 0.1, off**2 / 2, 0.1 * (off - 0.05)).sum() / 0.1**2)

    assert _huber(start, *logs, 0.1)[0] == pytest.approx(written_out(start))
    assert check_grad(written_out, lambda x: _huber(x, *logs, 0.1)[1], start) < 1e-3


@pytest.mark.slow
def test_intervals_hold_as_often_as_they_say() -> None:
    held = []
    for seed in range(20):
        found = fit_runs(invented_runs(seed), FitConfig(bootstrap=100, seed=seed))
        for name in CONSTANTS:
            low, high = found.intervals[name]
            held.append(low <= getattr(PLANTED, name) <= high)
    assert np.mean(held) > 0.75  # bootstrap intervals of 21 runs are somewhat narrow


def test_too_little_is_refused() -> None:
    with pytest.raises(DataError, match=r"5 runs of .* 6 runs or more"):
        fit_runs(invented_runs(0)[:5], FitConfig())
    same = [run for run in invented_runs(0) if run.parameters == SIZES[0]]
    with pytest.raises(DataError, match="of 1 sizes"):
        fit_runs(same * 3, FitConfig())
    for wrong in ({"bootstrap": 3}, {"confidence": 1.0}, {"huber_delta": 0.0}):
        with pytest.raises(ConfigError):
            FitConfig(**wrong)  # type: ignore[arg-type]


def write_run(folder: Path, run: Run, last: str = "") -> None:
    folder.mkdir(parents=True)
    (folder / "scale.json").write_text(json.dumps({"parameters": run.parameters, "tokens_per_sample": 8}))
    records = [{"step": 1, "samples": 0, "validation_loss": 9.0}, {"step": 2, "samples": 4, "loss": 5.0}]
    records += [
        {"step": 3, "samples": tokens / 8, "validation_loss": loss}
        for tokens, loss in zip(run.tokens, run.losses, strict=True)
    ]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n" + last)


def test_runs_are_read_from_folders_and_tables(tmp_path: Path) -> None:
    runs = invented_runs(0)[:2]
    write_run(tmp_path / "a" / "training" / "run", runs[0], last='{"step": 4, "samp')
    write_run(tmp_path / "b" / "run", runs[1])
    found = read_runs([tmp_path / "a", tmp_path / "b"])
    assert [(run.parameters, run.tokens, run.losses) for run in found] == [
        (run.parameters, run.tokens, run.losses) for run in runs
    ]
    assert read_runs([tmp_path / "a"], loss="accuracy")[0].losses == (5.0,)
    table = tmp_path / "t.csv"
    table.write_text("run,parameters,tokens,loss\nx,10,200,3\nx,10,100,4\n,20,100,3.5\n")
    assert read_runs([table]) == [
        Run("x", 10.0, (100.0, 200.0), (4.0, 3.0)),
        Run("row 3", 20.0, (100.0,), (3.5,)),
    ]
    table.write_text("parameters,tokens,loss\n10,200,-1\n")
    with pytest.raises(DataError, match="row 1.*above 0"):
        read_runs([table])
    table.write_text("parameters,loss\n10,3\n")
    with pytest.raises(DataError, match="row 1.*tokens"):
        read_runs([table])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no run"):
        read_runs([tmp_path / "empty"])
    with pytest.raises(DataError, match="does not exist"):
        read_runs([tmp_path / "nothing"])


def test_the_command_writes_a_law_that_a_plan_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, run in enumerate(invented_runs(2)):
        write_run(tmp_path / f"run{number:02d}", run)
    folders = [str(path) for path in sorted(tmp_path.glob("run*"))]
    options = ["--bootstrap", "20", "--extrapolate", "1e21", "--output", str(tmp_path / "fit")]
    with pytest.raises(SystemExit) as ended:
        main(["budget", "fit", *folders, *options])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "careful: 1e+21 FLOP is" in printed and "N ~ C^a by profiles" in printed
    law = find_law(str(tmp_path / "fit" / "law.json"))
    assert law.irreducible == pytest.approx(1.6, rel=0.05)
    assert law.stretched(1e21) > 1000  # type: ignore[operator]
    page = (tmp_path / "fit" / "fit.html").read_text()
    assert "best by the law" in page and "Careful" in page
    assert CHINCHILLA.most_flops is None
