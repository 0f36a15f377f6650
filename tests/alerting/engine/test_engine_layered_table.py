"""Tables that are copied at each step: like dictionaries, and cheap to copy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcanary.alerting.engine.layered_table import LayeredTable
from support.hypothesis_profile import count_example, examples, report_example_count

__all__ = ["report_example_count"]

KEYS = st.sampled_from([f"key-{number}" for number in range(200)])
ROWS = st.dictionaries(KEYS, st.integers(), max_size=50)
CHANGES = st.lists(st.tuples(KEYS, st.none() | st.integers()), max_size=300)


@examples(sample=200, fuzz=10_000)
@given(rows=ROWS, changes=CHANGES)
def test_a_table_is_a_dictionary(part: int, rows: dict[str, int], changes: list[tuple[str, int | None]]) -> None:
    """After any changes, with a copy before each as in a step; ``None`` removes a row. No copy changes another."""
    count_example()
    expected, table = dict(rows), LayeredTable(dict(rows))
    history = [(dict(expected), table)]
    for key, value in changes:
        table = table.copy()
        if value is None:
            assert expected.pop(key, None) == table.pop(key, None)
        else:
            expected[key] = table[key] = value
        history.append((dict(expected), table))

    for expected, table in history:
        assert expected == table == expected
        assert (len(expected), sorted(expected), bool(expected)) == (len(table), sorted(table), bool(table))
        assert {key: expected.get(key, -1) for key in rows} == {key: table.get(key, -1) for key in rows}
        assert [key in expected for key in rows] == [key in table for key in rows]


def test_a_missing_key_is_an_error() -> None:
    """As in a dictionary, and also for a row that was removed."""
    table = LayeredTable({"a": 1})
    del table["a"]

    for key in "ab":
        with pytest.raises(KeyError, match=key):
            table[key]
        with pytest.raises(KeyError, match=key):
            del table[key]


def test_copies_share_the_rows() -> None:
    """Of a hundred thousand rows, a copy after a change has a few hundred changes of its own at most."""
    table: LayeredTable[int] = LayeredTable({f"key-{number}": number for number in range(100_000)})
    copied = 0
    for number in range(2_000):
        table = table.copy()
        table[f"key-{number}"] = 0
        copied = max(copied, len(table._changes))

    assert copied < 400
    assert 100_000 == len(table)
