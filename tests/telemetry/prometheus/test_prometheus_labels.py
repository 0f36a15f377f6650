"""The labels of a series: equal for equal attributes, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics._internal._view_instrument_match import _hash_attributes

from streamcanary.telemetry.prometheus.labels import Labels

VALUES = st.one_of(
    st.text(max_size=3), st.booleans(), st.integers(-2, 2), st.floats(-2, 2), st.tuples(st.text(max_size=2))
)
ATTRIBUTES = st.dictionaries(st.sampled_from(["canary", "target", "outcome", "x.y"]), VALUES, max_size=4)


@given(ATTRIBUTES)
def test_the_attributes_are_as_they_were(attributes: dict[str, object]) -> None:
    """The attributes of labels are those that they were made of, with their types."""
    shown = Labels.of(attributes).attributes
    assert attributes == shown
    assert {name: type(value) for name, value in attributes.items()} == {
        name: type(value) for name, value in shown.items()
    }


@given(ATTRIBUTES, ATTRIBUTES)
def test_labels_are_equal_as_the_sdk_decides(first: dict[str, object], second: dict[str, object]) -> None:
    """Two attribute sets have one series exactly if the SDK would count them as one."""
    same = _hash_attributes(first) == _hash_attributes(second)  # type: ignore[arg-type]
    assert same is (Labels.of(first) == Labels.of(second))


def test_the_order_of_attributes_does_not_matter() -> None:
    """Attributes in another order are the same labels, with the same hash."""
    one, other = Labels.of({"a": "1", "b": "2"}), Labels.of({"b": "2", "a": "1"})
    assert (one, hash(one)) == (other, hash(other))


@pytest.mark.parametrize(("value", "other"), [(1, True), (1, 1.0), ("1", 1), (0.0, -0.0)])
def test_values_of_different_types_are_different(value: object, other: object) -> None:
    """What Python compares as equal is not one series: the types differ, or the sign of zero."""
    assert Labels.of({"a": value}) != Labels.of({"a": other})
