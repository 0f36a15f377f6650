"""The number of examples for property tests: a sample in ``make test``, many more in ``make fuzz``.

``HYPOTHESIS_PROFILE`` selects the profile: ``sample`` (default) uses the same few hundred cases, ``fuzz`` new ones.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, settings

_SLOW_IS_FINE: Final = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile("sample", derandomize=True, database=None, deadline=None, suppress_health_check=_SLOW_IS_FINE)
settings.register_profile(
    "fuzz",
    deadline=None,
    database=None,  # workers would share its files; a failure prints how to reproduce it
    print_blob=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=_SLOW_IS_FINE,
)
PROFILE: Final = os.environ.get("HYPOTHESIS_PROFILE", "sample")
_SHARDS: Final = 10 if PROFILE == "fuzz" else 1  # of one property, for workers to share
_example_count = 0


def examples(*, sample: int, fuzz: int) -> Callable[[Any], Any]:
    """Run a property on ``sample`` or ``fuzz`` examples; the test takes ``part``, its shard, which it may ignore."""
    number = fuzz // _SHARDS if PROFILE == "fuzz" else sample

    def decorate(test: Any) -> Any:
        test = settings(settings.get_profile(PROFILE), max_examples=number)(test)
        return pytest.mark.parametrize("part", range(_SHARDS))(test)

    return decorate


def count_example() -> None:
    """Count an example."""
    global _example_count  # noqa: PLW0603 - one count for one process
    _example_count += 1


@pytest.fixture(autouse=True)
def report_example_count(record_property: Callable[[str, object], None]) -> Iterable[None]:
    """Report how many examples a test ran; import this fixture in modules with properties."""
    before = _example_count
    yield
    record_property("cases", _example_count - before)


def total_examples(reports: Iterable[Any]) -> int:
    """Return how many examples the tests of ``reports`` ran."""
    properties = [item for report in reports for item in getattr(report, "user_properties", ())]
    return sum(value for name, value in properties if name == "cases")
