"""The quality and speed of VCNet against its baselines, on five tables over five splits.

    python benchmarks/counterfactual.py quality --data FOLDER --out FOLDER [--seconds 110]
    python benchmarks/counterfactual.py speed   --data FOLDER --out FOLDER
    python benchmarks/counterfactual.py housing --data FOLDER --out FOLDER
    python benchmarks/counterfactual.py table   --out FOLDER

`quality` does what is not yet in OUT, a piece (table, split, method) at a time, and ends when its
seconds are over; run it again until it says "complete". The method dice needs dice-ml: run those pieces in an
environment made from benchmarks/peers/counterfactual.txt. `table` prints what is there as Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hortus.artifact import write_json
from hortus.counterfactual import PostHocVCNet, VCNet, VCNetRegressor
from hortus.counterfactual.comparison import evaluate_method, parts_of, summarize
from hortus.counterfactual.judges import Judges, tuned_mlp
from hortus.device import describe_machine

# name -> file, target, immutable columns of the literature
TABLES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "breast cancer": ("breast_cancer_wdbc.csv", "diagnosis", ()),
    "student performance": ("student_performance_counternet.csv", "G3", ()),
    "titanic": ("titanic_counternet.csv", "Survived", ("Sex", "family")),
    "heloc": ("heloc_fico.csv", "RiskPerformance", ()),
    "adult": ("adult_counternet.csv", "income", ("race", "gender")),
}
# What a column of the table is: the method, and options of VCNet.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "vcnet": ("vcnet", {}),
    "gradient": ("gradient", {}),
    "nearest": ("nearest", {}),
    "published losses": ("vcnet", {"validity_weight": 0.0, "detach_condition": False}),
    "posthoc": ("posthoc", {}),
    "dice": ("dice", {}),
    "counternet": ("counternet", {}),
}
SPLITS, SEED = 5, 0
ROWS = {"dice": 20}  # rows explained in each split; a query of DiCE takes a good part of a second
MOST_ROWS = 300
SHOWN = {
    "accuracy": "accuracy",
    "validity": "validity",
    "validity_mlp": "by MLP",
    "validity_boosting": "by boosting",
    "proximity_score": "proximity score ↓",
    "neighbour_share": "5-NN share ↑",
    "local_outlier_factor": "LOF ↓",
    "im1": "IM1 ↓",
    "proximity_l1": "L1 ↓",
    "sparsity": "changed ↓",
    "prediction_gain": "gain ↑",
    "redundancy": "redundant ↓",
    "robustness": "lost to noise ↓",
    "violations": "violations",
}


def read(folder: Path, name: str) -> tuple[pd.DataFrame, str, tuple[str, ...]]:
    """One of the tables, its target and immutable columns."""
    file, target, immutable = TABLES[name]
    return pd.read_csv(folder / file), target, immutable


def piece_path(out: Path, name: str, split: int, method: str) -> Path:
    """Where a measured piece is kept."""
    return out / "pieces" / f"{name}-{split}-{method}.json".replace(" ", "_")


def quality(data: Path, out: Path, seconds: float, methods: list[str], splits: list[int]) -> None:
    """Measure missing pieces until the time is over."""
    began = time.perf_counter()
    (out / "pieces").mkdir(parents=True, exist_ok=True)
    # Split by split, so that an unfinished run has every table.
    for split in splits:
        for name in TABLES:
            frame, target, immutable = read(data, name)
            missing = [m for m in methods if not piece_path(out, name, split, m).exists()]
            if not missing:
                continue
            part = list(parts_of(frame, target, SPLITS, SEED))[split]
            judges = Judges.fit(part.train, part.train_classes, seed=SEED + 1000 + split)
            fitted: dict[str, Any] = {}
            for method in missing:
                if time.perf_counter() - began > seconds:
                    print("time is over; run again")
                    return
                started = time.process_time()
                rows = ROWS.get(method, MOST_ROWS)
                kind, options = METHODS[method]
                record, _, _ = evaluate_method(
                    kind,
                    part,
                    judges,
                    {} if options else fitted,
                    immutable=immutable,
                    rows=rows,
                    seed=SEED + split,
                    options=options,
                )
                for wall_time in ("milliseconds_per_row", "fit_seconds"):  # `speed` measures alone
                    del record[wall_time]
                piece = {"method": method, "split": split, "rows": min(rows, len(part.test)), **record}
                write_json(piece_path(out, name, split, method), piece)
                print(name, split, method, f"{time.process_time() - started:.0f} s of processor", flush=True)
    print("complete")


def speed(data: Path, out: Path) -> None:
    """Explanations a second of VCNet and of DiCE (random), one after the other in this process, on Adult."""
    frame, target, immutable = read(data, "adult")
    part = next(parts_of(frame, target, SPLITS, SEED))
    model = VCNet(immutable=immutable, random_state=SEED).fit(part.train, part.train_classes)
    many = pd.concat([part.test] * (1 + 200_000 // len(part.test)), ignore_index=True).iloc[:200_000]
    model.explain(many.iloc[:20_000])
    began = time.perf_counter()
    answer = model.explain(many)
    seconds = time.perf_counter() - began
    result: dict[str, Any] = {
        "rows": len(many),
        "seconds": seconds,
        "rows_per_second": len(many) / seconds,
        "rows_per_minute": 60 * len(many) / seconds,
        "valid": float(answer.hortus_valid.mean()),
        "machine": describe_machine(),
    }
    try:
        import dice_ml  # noqa: F401
    except ImportError:
        print("dice-ml is not here: its line is left out", file=sys.stderr)
    else:
        result |= dice_speed(part, immutable)
        result["ratio"] = result["rows_per_second"] / result["dice_rows_per_second"]
    write_json(out / "speed.json", result)
    print(json.dumps(result, indent=2))


def dice_speed(part: Any, immutable: tuple[str, ...], rows: int = 30) -> dict[str, float]:
    """Rows a second of DiCE with its random search, on an MLP of scikit-learn."""
    from hortus.counterfactual.baselines import DiCE

    predictor = tuned_mlp(part.train, part.train_classes, SEED)
    model = PostHocVCNet(predictor, immutable=immutable, epochs=1).fit(part.train)
    dice = DiCE(model, part.train, part.train_classes)
    dice.explain(part.test.iloc[:2])
    began = time.perf_counter()
    answer = dice.explain(part.test.iloc[:rows])
    seconds = time.perf_counter() - began
    return {"dice_rows_per_second": rows / seconds, "dice_valid": float(answer.hortus_valid.mean())}


def housing(data: Path, out: Path) -> None:
    """Regression on California housing: the share of rows that reach a value range 20 to 40 % above."""
    frame = pd.read_csv(data / "california_housing.csv")
    target = frame.pop("median_house_value")
    order = np.random.default_rng(SEED).permutation(len(frame))
    train, test = order[: int(0.8 * len(frame))], order[int(0.8 * len(frame)) :]
    immutable = ("longitude", "latitude", "housing_median_age")
    fixed = VCNetRegressor(immutable=immutable, random_state=SEED).fit(frame.iloc[train], target.iloc[train])
    free = VCNetRegressor(random_state=SEED).fit(frame.iloc[train], target.iloc[train])
    result: dict[str, Any] = {"machine": describe_machine()}
    for name, model in (("location fixed", fixed), ("all may change", free)):
        asked, now = frame.iloc[test], model.predict(frame.iloc[test])
        result[name] = {"r2": model.score(asked, target.iloc[test])}
        result[name]["200,000 to 300,000"] = _reached(model, asked, (200_000.0, 300_000.0), now)
        lowest, highest = model.target_range_
        base = np.maximum(now, lowest)  # a few predictions are below 0
        higher = np.stack([np.minimum(1.2 * base, 0.9 * highest), np.minimum(1.4 * base, highest)], 1)
        result[name]["20 to 40 % above"] = _reached(model, asked, higher, now)
    write_json(out / "housing.json", result)
    print(json.dumps(result, indent=2))


def _reached(model: VCNetRegressor, asked: pd.DataFrame, goal: Any, now: np.ndarray) -> dict[str, float]:
    answer = model.explain(asked, target=goal)
    fresh = model.predict(answer[list(asked.columns)])
    low, high = (np.full(len(now), end) for end in goal) if isinstance(goal, tuple) else goal.T
    inside = (fresh >= low) & (fresh <= high)
    asked_for = ~((now >= low) & (now <= high))
    return {
        "rows": int(asked_for.sum()),
        "reached": float(inside[asked_for].mean()),
        "flag_agrees": float((inside == answer.hortus_valid.to_numpy()).mean()),
        "changed": float(answer.hortus_changed[asked_for].mean()),
    }


def table(out: Path) -> None:
    """The quality as Markdown, one table for each data set; all that is measured into counterfactual.json."""
    results: dict[str, Any] = {"machine": describe_machine()}
    for name in ("speed", "housing"):
        if (out / f"{name}.json").exists():
            results[name] = json.loads((out / f"{name}.json").read_text())
    for name in TABLES:
        paths = [piece_path(out, name, split, method) for method in METHODS for split in range(SPLITS)]
        lines = pd.DataFrame([json.loads(path.read_text()) for path in paths if path.exists()])
        if lines.empty:
            continue
        summary, counts = summarize(lines), lines.groupby("method").size()
        results[name] = {
            method: {"splits": int(counts[method]), **line.dropna()} for method, line in summary.iterrows()
        }
        judge = _cell(summary.iloc[0], "mlp_accuracy")
        print(f"\n**{name}** (tuned MLP: accuracy {judge})\n")
        print(f"| method | splits | {' | '.join(SHOWN.values())} |\n|---|---|{'---|' * len(SHOWN)}")
        for method, line in summary.iterrows():
            cells = [_cell(line, key) for key in SHOWN]
            print(f"| {method} | {counts[method]} | {' | '.join(cells)} |")
    write_json(out / "counterfactual.json", results)


def _cell(line: pd.Series, key: str) -> str:
    if pd.isna(line[key]):
        return "–"
    digits = 1 if abs(line[key]) >= 10 else 3 if abs(line[key]) < 1 or key == "accuracy" else 2
    error = line[f"{key}_se"]
    return f"{line[key]:.{digits}f}" + ("" if pd.isna(error) else f" ± {error:.{digits}f}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["quality", "speed", "housing", "table"])
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("HORTUS_TEST_DATA", ".")) / "tabular"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-counterfactual"))
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--splits", default=",".join(map(str, range(SPLITS))))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.what == "quality":
        methods, splits = arguments.methods.split(","), [int(split) for split in arguments.splits.split(",")]
        quality(arguments.data, arguments.out, arguments.seconds, methods, splits)
    elif arguments.what == "speed":
        speed(arguments.data, arguments.out)
    elif arguments.what == "housing":
        housing(arguments.data, arguments.out)
    else:
        table(arguments.out)


if __name__ == "__main__":
    main()
