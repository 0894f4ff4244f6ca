"""scikit-learn's own checks, and bad input to `fit`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from hortus.counterfactual import PRESETS, VCNet, VCNetRegressor
from hortus.errors import ConfigError, DataError

EXEMPT = {
    "check_dataframe_column_names_consistency": "columns are matched by name, so another order is accepted"
}
SMALL = {
    "epochs": 60,
    "batch_size": 32,
    "learning_rate": 5e-3,
    "share_size": 32,
    "middle_size": 16,
    "latent_size": 4,
}


def expected_failures(estimator: Any) -> dict[str, str]:
    return EXEMPT


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([VCNet(**SMALL), VCNetRegressor(**SMALL)], expected_failed_checks=expected_failures)
def test_scikit_learn_checks(estimator: Any, check: Any) -> None:
    check(estimator)


QUICK = {
    "check_estimators_dtypes",
    "check_fit_score_takes_y",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_estimators_unfitted",
    "check_dict_unchanged",
    "check_n_features_in_after_fitting",
    "check_methods_subset_invariance",
    "check_fit_idempotent",
    "check_estimators_pickle",
}


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [VCNet(**{**SMALL, "epochs": 2}), VCNetRegressor(**{**SMALL, "epochs": 2})],
    expected_failed_checks=expected_failures,
)
def test_the_quick_ones(estimator: Any, check: Any) -> None:
    name = getattr(check, "func", check).__name__
    if name not in QUICK:
        pytest.skip("among the slow ones")
    check(estimator)


FRAME = pd.DataFrame({"a": np.arange(60.0), "b": list("xyz") * 20})
Y = np.arange(60) % 2


@pytest.mark.parametrize(
    ("X", "y", "arguments", "error", "message"),
    [
        (FRAME, np.zeros(60), {}, DataError, "the target has 1 class"),
        (FRAME, [np.nan, *Y[1:]], {}, DataError, "1 target values are NaN"),
        (FRAME, Y[1:], {}, DataError, "inconsistent numbers of samples"),
        (FRAME, None, {}, DataError, "requires y"),
        (FRAME, np.random.default_rng(0).random(60), {}, DataError, "Unknown label type"),
        (FRAME.assign(a=1, b="x"), Y, {}, DataError, "no column varies"),
        (FRAME.assign(a=np.inf), Y, {}, DataError, "infinity"),
        (FRAME.rename(columns={"a": "hortus_a"}), Y, {}, DataError, "reserved"),
        (FRAME.set_axis(["a", "a"], axis=1), Y, {}, DataError, "there twice"),
        (FRAME, Y, {"immutable": ["a", "b"]}, ConfigError, "every column that varies is immutable"),
        (FRAME, Y, {"immutable": ["c"]}, ConfigError, "immutable names 'c'"),
        (FRAME, Y, {"preset": "adlut"}, ConfigError, "did you mean 'adult'"),
        (FRAME, Y, {"epochs": 0}, ConfigError, "epochs=0 is out of range"),
        (FRAME, Y, {"kl_max": -1.0}, ConfigError, "kl_max=-1.0"),
        (FRAME, Y, {"flip": "encoder"}, ConfigError, "that part is not conditioned"),
        (FRAME, Y, {"reconstruction": "l1"}, ConfigError, "cross_entropy"),
        (FRAME, Y, {"attempts": 0}, ConfigError, "attempts from 1"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_bad_input_is_named(X: Any, y: Any, arguments: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        VCNet(**arguments).fit(X, y)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_columns_missing_or_unknown_are_named() -> None:
    model = VCNet(epochs=1, share_size=4, middle_size=4, latent_size=2).fit(FRAME, Y)
    with pytest.raises(DataError, match="lacks the columns 'b'"):
        model.predict(FRAME[["a"]])
    with pytest.raises(DataError, match="'extra' was not in training"):
        model.predict(FRAME.assign(extra=1))
    assert np.array_equal(model.predict(FRAME[["b", "a"]]), model.predict(FRAME))
    with pytest.raises(DataError, match="expecting 2 features"):
        model.predict(np.zeros((3, 3)))


def test_few_rows_and_names_are_warned_of() -> None:
    frame = FRAME.iloc[:30].assign(name=[f"person {number}" for number in range(30)])
    with pytest.warns(UserWarning) as caught:
        VCNet(epochs=1, share_size=4, middle_size=4, latent_size=2).fit(frame, Y[:30])
    messages = " ".join(str(warning.message) for warning in caught)
    assert "only 30 rows" in messages and "'name' has 30 categories" in messages


def test_columns_are_shown() -> None:
    model = VCNet(epochs=1, immutable=["b"], share_size=4, middle_size=4, latent_size=2)
    shown = model.fit(FRAME, Y).columns_.set_index("column")
    assert shown.loc["a", "kind"] == "number" and shown.loc["b", "kind"] == "category"
    assert shown.loc["b", "changes"] == "never" and shown.loc["a", "changes"] == "may"


def test_presets_are_the_published_values() -> None:
    adult, compas, credit = PRESETS["adult"], PRESETS["compas"], PRESETS["give_me_some_credit"]
    assert (adult.learning_rate, adult.batch_size, adult.epochs) == (1.14e-5, 91, 176)
    assert (adult.latent_size, adult.share_size, adult.middle_size) == (19, 304, 152)
    assert (adult.prediction_weight, adult.reconstruction_weight, adult.kl_step, adult.kl_max) == (
        0.93,
        1.0,
        0.112,
        0.034,
    )
    assert (compas.epochs, compas.latent_size, compas.kl_step) == (99, 4, 0.369)
    published = [settings for name, settings in PRESETS.items() if name != "default"]
    assert not any(settings.detach_condition or settings.validity_weight for settings in published)
    assert (credit.reconstruction_weight, credit.share_size, credit.batch_size) == (0.1, 296, 33)


ABLATIONS = [
    {"shared_encoder": False},
    {"condition_encoder": True},
    {"condition_encoder": True, "flip": "both"},
    {"condition_encoder": True, "condition_decoder": False, "flip": "encoder"},
    {"reconstruction": "squared_error", "clamp_kl": False},
    {"detach_condition": False},
    {"validity_weight": 0.0},
]


@pytest.mark.parametrize("options", ABLATIONS)
@pytest.mark.parametrize("kind", [VCNet, VCNetRegressor])
def test_ablations_run_and_differ(options: dict, kind: type) -> None:
    small = {"epochs": 3, "share_size": 8, "middle_size": 8, "latent_size": 2}
    target = None if kind is VCNet else (0.5, None)
    plain = kind(**small).fit(FRAME, Y).explain(FRAME, target=target)
    other = kind(**small, **options).fit(FRAME, Y).explain(FRAME, target=target)
    column = "hortus_probability" if kind is VCNet else "hortus_prediction"
    assert not np.array_equal(plain[column], other[column])
    assert list(plain.columns) == list(other.columns)


def test_fitting_leaves_random_state_and_threads_alone() -> None:
    import torch

    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(1).item(), np.random.random()
    torch.manual_seed(5)
    np.random.seed(5)
    threads = torch.get_num_threads()
    VCNet(epochs=1, share_size=4, middle_size=4, latent_size=2).fit(FRAME, Y)
    assert (torch.rand(1).item(), np.random.random()) == expected
    assert torch.get_num_threads() == threads
