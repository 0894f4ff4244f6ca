"""sBIC against published outputs, hand-made examples, a high-precision solution and its own algebra."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hortus.errors import ConfigError, DataError
from hortus.topics import coefficient_matrices, gaussian_mixture_coefficient, matrix_coefficient, sbic
from hortus.topics.criteria.information import bic, sbic_of_topics

PUBLISHED = 5e-5


def lower(rows: list[list[float]]) -> np.ndarray:
    """A lower-triangular matrix from its rows, NaN above the diagonal."""
    matrix = np.full((len(rows), len(rows)), np.nan)
    for i, row in enumerate(rows):
        matrix[i, : len(row)] = row
    return matrix


def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column numbers of a square matrix, counted from 1."""
    i = np.arange(1, size + 1)
    return np.broadcast_arrays(i[:, None], i[None, :])


def test_factor_analysis_of_exchange_rates() -> None:
    coefficients = lower([[3], [4.5, 6], [6, 7.25, 8.5], [7.5, 8.5, 9.5, 10.5]])
    result = sbic([-429.0, -191.61082, -70.04375, -68.93844], coefficients, 1, 143)
    assert result.values == pytest.approx([-443.8885, -221.3879, -112.2279, -116.1058], abs=PUBLISHED)
    assert result.weights == pytest.approx([0, 0, 0.9797249, 0.0202751], abs=PUBLISHED)
    assert result.best == 2


def test_regular_coefficients_give_bic() -> None:
    likelihoods = np.array([-429.0, -191.61082, -70.04375, -68.93844])
    half = np.tril(np.repeat(np.array([[6], [12], [17], [21]]) / 2, 4, axis=1))
    half[np.triu_indices(4, 1)] = np.nan
    result = sbic(likelihoods, half, 1, 143)
    assert result.values == pytest.approx([-443.8885, -221.3879, -112.2279, -121.0483], abs=PUBLISHED)
    assert result.weights == pytest.approx([0, 0, 0.9998523, 0.0001477], abs=PUBLISHED)


GALAXY = [-240.3379, -220.2445, -203.1792, -197.4621, -190.0724, -186.8674, -185.8390, -186.7764, -184.0937]
GALAXY += [-185.8294]


def test_gaussian_mixtures_of_the_galaxy_data() -> None:
    i, j = grid(10)
    coefficients = np.where(j <= i, gaussian_mixture_coefficient(i, j), np.nan)
    result = sbic(GALAXY, coefficients, 1, 82)
    expected = [-244.7446, -231.2612, -220.8038, -219.0979, -216.4564, -216.2255, -217.5358, -220.6820]
    assert result.values == pytest.approx([*expected, -220.2114, -224.1505], abs=1e-4)
    assert result.best + 1 == 6
    charge = (3 * np.arange(1, 11) - 1) / 2 * np.log(82)
    assert int(np.argmax(np.array(GALAXY) - charge)) + 1 == 3


RANKS = [-713.7313, -601.7517, -536.8049, -495.0693, -461.8093, -443.4735, -431.8450, -427.5681, -424.5127]
RANKS += [-422.0075, -421.6355]


@pytest.mark.parametrize("shift", [0, 1])
def test_reduced_rank_regression(shift: int) -> None:
    i, j = grid(11)
    rank, true = i - 1 + shift, j - 1 + shift  # the published program charges rank + 1
    nested = j <= i
    value, multiplicity = matrix_coefficient(15, 10, rank, np.minimum(true, rank))
    result = sbic(RANKS, np.where(nested, value, np.nan), np.where(nested, multiplicity, np.nan), 100)
    published = [-768.9933, -707.6706, -684.4012, -672.6901, -664.9195, -664.2727, -668.8357, -680.6701]
    published += [-692.1950, -704.6111, -716.7177]
    correct = [-713.7313, -657.0137, -634.9018, -624.3938, -618.1087, -620.3037, -628.1243, -642.3817]
    correct += [-656.3227, -671.4410, -685.6794]
    assert result.values == pytest.approx(published if shift else correct, abs=1e-4)
    assert result.best == (5 if shift else 4)


def test_two_models_by_hand() -> None:
    result = sbic([-100, -97], lower([[1], [1.5, 2]]), 1, 100)
    assert result.log_marginals[1] == pytest.approx([-103.907755, -106.210340], abs=5e-7)
    assert result.values == pytest.approx([-104.605170, -104.534793], abs=5e-7)


TOY = [-1240.0, -1195.0, -1168.0, -1163.5]


def test_topic_models_more_words_than_documents() -> None:
    coefficients, multiplicities = coefficient_matrices(8, 6, [1, 2, 3, 4])
    result = sbic(TOY, coefficients, multiplicities, 600)
    marginals = lower(
        [
            [-1262.3893],
            [-1233.3816, -1252.5724],
            [-1222.3739, -1238.3662, -1254.3586],
            [-1232.0104, -1246.6601, -1259.4539, -1272.2478],
        ]
    )
    np.testing.assert_allclose(result.log_marginals, marginals, atol=PUBLISHED)
    expected = [-1262.389254, -1247.880809, -1242.281235, -1251.496848]
    assert result.values == pytest.approx(expected, abs=5e-7)
    assert result.weights == pytest.approx([2e-9, 0.003685, 0.996215, 0.000099], abs=5e-7)
    expected = [-1262.389254, -1258.969297, -1273.549339, -1310.629382]
    assert bic(TOY, 8, 6, [1, 2, 3, 4], 600) == pytest.approx(expected, abs=5e-7)


def test_topic_models_with_the_authors_rank() -> None:
    result = sbic_of_topics(TOY, 8, 6, [1, 2, 3, 4], 600, convention="authors")
    expected = [-1284.778508, -1268.652636, -1261.191528, -1266.879257]
    assert result.values == pytest.approx(expected, abs=5e-7)


def test_topic_models_with_multiplicities() -> None:
    result = sbic_of_topics([-1060, -1030, -1012, -1010], 6, 6, [1, 2, 3, 4], 600)
    expected = [-1075.992324, -1068.060152, -1066.452608, -1075.409809]
    assert result.values == pytest.approx(expected, abs=5e-7)


def test_candidates_in_any_order() -> None:
    forward = sbic_of_topics(TOY, 8, 6, [1, 2, 3, 4], 600)
    backward = sbic_of_topics(TOY[::-1], 8, 6, [4, 3, 2, 1], 600)
    assert backward.values[::-1] == pytest.approx(forward.values, abs=1e-12)


def by_decimals(likelihoods: list[float], coefficients: np.ndarray, n: int) -> list[float]:
    """The recursion as printed, in decimals of 400 digits, for a chain of models."""
    with localcontext() as context:
        context.prec = 400
        log_n = Decimal(n).ln()
        values: list[Decimal] = []
        for i, likelihood in enumerate(likelihoods):
            row = [(Decimal(likelihood) - Decimal(coefficients[i, j]) * log_n).exp() for j in range(i + 1)]
            b = sum(values, start=Decimal(0)) - row[i]
            c = sum((value * own for value, own in zip(values, row, strict=False)), start=Decimal(0))
            values.append((-b + (b * b + 4 * c).sqrt()) / 2)
        return [float(value.ln()) for value in values]


@given(
    st.lists(st.floats(-300, 0), min_size=2, max_size=6),
    st.lists(st.floats(0.5, 8), min_size=6, max_size=6),
    st.integers(2, 10**6),
)
def test_log_space_equals_high_precision(likelihoods: list[float], steps: list[float], n: int) -> None:
    size = len(likelihoods)
    i, j = grid(size)
    coefficients = np.where(j <= i, i * steps[0] + j * steps[1], np.nan)
    expected = by_decimals(likelihoods, coefficients, n)
    assert sbic(likelihoods, coefficients, 1, n).values == pytest.approx(expected, abs=1e-7, rel=1e-9)


@given(st.floats(-1e9, 1e9), st.floats(-1e6, 1e6))
def test_a_constant_shifts_and_far_models_stay_finite(constant: float, gap: float) -> None:
    coefficients = lower([[3], [4, 6], [5, 7, 9]])
    likelihoods = np.array([0.0, gap, gap / 2])
    base = sbic(likelihoods, coefficients, 1, 1000)
    moved = sbic(likelihoods + constant, coefficients, 1, 1000)
    assert np.isfinite(base.values).all()
    assert moved.values - constant == pytest.approx(base.values, abs=1e-6)
    assert base.weights.sum() == pytest.approx(1)


def test_prior_enters_the_weights() -> None:
    likelihoods, coefficients = [-100.0, -97.0], lower([[1], [1.5, 2]])
    plain = sbic(likelihoods, coefficients, 1, 100)
    scaled = sbic(likelihoods, coefficients, 1, 100, prior=[7, 7])
    assert scaled.values == pytest.approx(plain.values, abs=1e-12)
    favoured = sbic(likelihoods, coefficients, 1, 100, prior=[1e6, 1])
    assert favoured.weights[0] > 0.999
    # With all prior weight on the submodel, the larger model is charged as if the submodel were the truth.
    assert favoured.values[1] == pytest.approx(favoured.log_marginals[1, 0], abs=1e-4)


def test_branching_order() -> None:
    # Two models that do not contain each other inside a third: each is judged by its own submodel alone.
    coefficients = np.array([[1, np.nan, np.nan], [np.nan, 1.5, np.nan], [2, 2.2, 3]])
    result = sbic([-50.0, -49.0, -45.0], coefficients, 1, 100)
    assert result.values[:2] == pytest.approx(result.log_marginals.diagonal()[:2])
    x = np.exp(result.values - result.values.max())
    marginals = np.exp(result.log_marginals[2] - result.values.max())
    assert x[2] * x.sum() == pytest.approx((marginals * x).sum())


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"log_likelihoods": [0.0, np.nan]}, DataError, "not finite"),
        ({"log_likelihoods": []}, ConfigError, "one number per model"),
        ({"learning_coefficients": [[1.0]]}, ConfigError, "row fitted"),
        ({"learning_coefficients": [[np.nan, np.nan], [1, 2]]}, DataError, "diagonal"),
        ({"learning_coefficients": [[1, 1], [1, 2]]}, DataError, "contain each other"),
        ({"multiplicities": [1, 1]}, ConfigError, "multiplicities"),
        ({"sample_size": 1}, ConfigError, "more than 1"),
        ({"prior": [1, 0]}, ConfigError, "positive weight"),
    ],
)
def test_bad_input(change: dict, error: type[Exception], words: str) -> None:
    arguments = {
        "log_likelihoods": [-2.0, -1.0],
        "learning_coefficients": [[1, np.nan], [1, 2]],
        "multiplicities": 1,
        "sample_size": 50,
    }
    with pytest.raises(error, match=words):
        sbic(**{**arguments, **change})


def test_missing_submodel_of_a_submodel() -> None:
    coefficients = np.array([[1, np.nan, np.nan], [1, 2, np.nan], [np.nan, 2, 3]])
    with pytest.raises(DataError, match="transitive"):
        sbic([-3, -2, -1], coefficients, 1, 100)
