"""The run lengths of the CUSUM, compared with the solution of all equations of its Markov chain."""

import math

import pytest

from streamcanary.alerting.detectors.cusum_run_length import runs_to_fire, runs_to_resolve


def test_the_run_length_of_a_known_threshold() -> None:
    """At h = 12 (36 good runs), 2 % errors and a run every 30 s, false alerts are about 610 days apart."""
    assert 610 == pytest.approx(runs_to_fire(8, 36, 0.02) * 30 / 86400, abs=1)
    assert 5 == runs_to_fire(8, 36, 1)


@pytest.mark.parametrize("autocorrelation", [0.0, 0.3])
@pytest.mark.parametrize(
    ("step", "threshold", "rate"), [(3, 7, 0.1), (1, 4, 0.3), (5, 5, 0.2), (2, 9, 0.6), (8, 3, 0.5)]
)
def test_run_lengths_equal_the_solution_of_the_markov_chain(
    step: int, threshold: int, rate: float, autocorrelation: float
) -> None:
    """The run lengths equal those of Gaussian elimination on the equations of all sums and last samples."""
    stay = range(threshold)
    bad_after = [rate * (1 - autocorrelation), rate + autocorrelation * (1 - rate)]
    up = [[0.0] * 2 * threshold for _ in range(2 * threshold)]  # states 2 * sum, plus 1 after a bad sample
    down = [[0.0] * 2 * threshold for _ in range(2 * threshold)]  # of the sums 1 to threshold
    for at in stay:
        for last, bad in enumerate(bad_after):
            up[2 * at + last][2 * max(at - 1, 0)] += 1 - bad
            if at + step < threshold:
                up[2 * at + last][2 * (at + step) + 1] += bad
            down[2 * at + last][2 * min(at + step, threshold - 1) + 1] += bad
            if at > 0:
                down[2 * at + last][2 * at - 2] += 1 - bad
    after_good, after_bad = solve(up)[:2]
    expected = (1 - rate) * after_good + rate * after_bad
    assert expected == pytest.approx(runs_to_fire(step, threshold, rate, autocorrelation))
    assert solve(down)[-1] == pytest.approx(runs_to_resolve(step, threshold, rate, autocorrelation))


def test_a_resolve_that_practically_never_comes_is_infinite() -> None:
    """At 50 % errors 300 good runs in a row do not come, nor any at 100 %; at 1 % a long series of states converges."""
    assert math.inf == runs_to_resolve(22, 300, 0.5)
    assert math.inf == runs_to_resolve(22, 35, 1)
    assert 100_000 / (1 - 23 * 0.01) == pytest.approx(runs_to_resolve(22, 100_000, 0.01), rel=0.01)


def solve(chain: list[list[float]]) -> list[float]:
    """Return the mean number of steps to leave a chain with these probabilities, for each start state."""
    size = len(chain)
    rows = [[(i == j) - chain[i][j] for j in range(size)] + [1.0] for i in range(size)]
    for i in range(size):
        best = max(range(i, size), key=lambda row: abs(rows[row][i]))
        rows[i], rows[best] = rows[best], rows[i]
        for other in range(size):
            if other != i:
                factor = rows[other][i] / rows[i][i]
                rows[other] = [a - factor * b for a, b in zip(rows[other], rows[i], strict=True)]
    return [rows[i][size] / rows[i][i] for i in range(size)]
