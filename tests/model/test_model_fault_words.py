"""The kinds of faults in words."""

import pytest

from streamcanary.model.fault_words import FAULT_WORDS, describe_fault, fault_words
from streamcanary.model.faults import FaultKind, Phase, make_fault


def test_each_kind_of_fault_has_words_of_its_own() -> None:
    """No kind is missing, no two read the same, and none reads like an identifier."""
    assert set(FaultKind) == set(FAULT_WORDS)
    assert len(FAULT_WORDS) == len(set(FAULT_WORDS.values()))
    assert not [words for words in FAULT_WORDS.values() if "_" in words or not words]


@pytest.mark.parametrize(
    ("kind", "words"),
    [("stream_cut", "stream cut off"), ("over_budget", "over budget"), ("", "")],
)
def test_another_reason_reads_with_spaces(kind: str, words: str) -> None:
    """The reason of a skipped run is not in the table, nor is a kind that a later version has recorded."""
    assert words == fault_words(kind)


def test_a_fault_is_a_line_in_words() -> None:
    """The kind in words, the status, and the message."""
    fault = make_fault(FaultKind.SERVER_ERROR, Phase.HEADERS, "server_error: overloaded", status=503)
    assert "server error (HTTP 503): server_error: overloaded" == describe_fault(fault)
