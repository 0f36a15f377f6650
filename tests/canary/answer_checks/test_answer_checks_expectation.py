"""Conditions on the text of a response."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcanary.canary.answer_checks.expectation import Expectation
from streamcanary.canary.answer_checks.repetition import repeated_unit
from streamcanary.canary.run import outcome_from_result
from streamcanary.canary.spec import CanarySpec
from streamcanary.client.result import AudioOutput, StreamResult, ToolCall
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import Outcome, OutcomeKind

RULER = "-" * 80
TABLE = "| name | value |\n|------|-------|\n" + "| a | 1 |\n" * 4


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("/" * 200, "/"),
        ("!" * 48, "!"),
        ("the " * 50, "the"),
        ("the\nthe  the\tthe the the " + "the\t" * 10, "the"),
        ("/" * 60 + "\ufffd", "/"),
        ("the " * 40 + ".", "the"),
        ('"' + "the " * 80 + '"', "the"),
        ("```\n" + "ab" * 80 + "\n```", "ab"),
        ("1" * 400, "1"),
        ("".join(chr(200 + number) for number in range(150)) * 20, "".join(chr(200 + number) for number in range(150))),
        ("pong. " + "GGGG" * 40, "G"),
        ("I am sorry. " * 30 + "I am so", "I am sorry."),
        ("A sane beginning of an answer, of some length, that then loops: " + "ab" * 300, "ab"),
        ("\u597d" * 100, "\u597d"),
    ],
)
def test_a_text_that_repeats_itself_to_the_end_is_degenerate(text: str, unit: str) -> None:
    """One character, word or phrase repeated to the end is found, with its unit; white space does not matter."""
    assert unit == repeated_unit(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pong",
        "Pong! The canary sings.",
        "ha ha ha",
        "...",
        "1111111",
        "0.3333333333333333",
        f"10^100 is 1{'0' * 100}",
        "FFFFFFFFFFFFFFFF",
        "F" * 64,
        "ha" * 10,
        "-" * 40,
        "!" * 16,
        f"A heading\n{RULER}\nand text.",
        f"Some text above a ruler, which is longer than the ruler is, or nearly so.\n{RULER}",
        TABLE,
        " ".join(str(number) for number in range(1, 500)),
        "/" * 500 + " and then an answer that goes on with other words until its end",
    ],
)
def test_ordinary_texts_are_not_degenerate(text: str) -> None:
    """Short answers, numbers, rulers and tables are not degenerate, nor is a repetition that ends."""
    assert None is repeated_unit(text)


@given(st.text(min_size=1, max_size=20).filter(lambda unit: len("".join(unit.split())) > 0), st.integers(40, 400))
def test_any_unit_repeated_often_enough_is_degenerate(unit: str, count: int) -> None:
    """The unit may be any text."""
    assert None is not repeated_unit(f"{unit} " * count)


def test_only_the_end_of_a_large_text_is_examined() -> None:
    """Eight megabytes that repeat a unit of a hundred characters take as little work as their end."""
    assert "a" * 99 + "b" == "".join(sorted(repeated_unit(("a" * 99 + "b") * 83_886) or ""))


def test_a_unit_has_at_most_500_characters() -> None:
    """A longer repeated part may be the structure of a text."""
    units = ["".join(chr(1000 + number) for number in range(size)) for size in (500, 510)]
    assert [True, False] == [repeated_unit(unit * 20) is not None for unit in units]


@pytest.mark.parametrize(
    ("expect", "text", "mismatch"),
    [
        ({}, "/" * 100, "repeats '/' to its end"),
        ({"not_degenerate": False}, "/" * 100, None),
        ({"contains": "/"}, "/" * 100, None),
        ({"contains": "/", "not_degenerate": True}, "/" * 100, "repeats '/' to its end"),
        ({"not_empty": False}, "", None),
        ({}, "  ", "is empty"),
    ],
)
def test_degenerate_texts_are_refused_unless_there_is_another_condition(
    expect: dict[str, Any], text: str, mismatch: str | None
) -> None:
    """``not_degenerate`` is on without another condition, and can be set in addition to one."""
    assert mismatch == Expectation.model_validate(expect).mismatch(text)


OUTCOME = Outcome(run_id="r", canary="c", target="t", provider="p", kind=OutcomeKind.OK, scheduled=0.0, started=0.0)
CALL = ToolCall(id="a", name="f", arguments="{}")


def outcome_of(result: StreamResult, expect: dict[str, Any] | None = None) -> tuple[OutcomeKind, FaultKind | None]:
    """Return kind and fault of the outcome of a canary with this expectation and token limit that got ``result``."""
    request = {"extra_body": {"max_completion_tokens": 64}}
    spec = CanarySpec.model_validate({"target": "t", "model": "m", "request": request, "expect": expect or {}})
    outcome = outcome_from_result(OUTCOME, result, spec)
    return outcome.kind, outcome.fault.kind if outcome.fault else None


@pytest.mark.parametrize(
    "result",
    [
        StreamResult(text="", tool_calls=(CALL,), finish_reason="tool_calls"),
        StreamResult(text=" ", tool_calls=(CALL,), finish_reason="tool_calls"),
        StreamResult(text="", images=("data:,x",), has_media=True, finish_reason="stop"),
        StreamResult(text="", audio=AudioOutput(data="AAAA"), has_media=True, finish_reason="stop"),
        StreamResult(text="", has_media=True, api="responses", finish_reason="stop"),
        StreamResult(text="", tool_calls=(CALL,), finish_reason="length"),
    ],
    ids=["tool call", "tool call and space", "image", "audio", "image of Responses", "tool call that is cut"],
)
def test_output_without_text_is_not_empty(result: StreamResult) -> None:
    """A tool call, an image or audio without text meets the default expectation, but no condition on the text."""
    assert (OutcomeKind.OK, None) == outcome_of(result)
    assert OutcomeKind.FAILED is outcome_of(result, {"contains": "pong"})[0]


@pytest.mark.parametrize(
    "result",
    [StreamResult(text="", finish_reason="stop"), StreamResult(text="", refusal="I cannot.", finish_reason="stop")],
)
def test_response_without_output_or_with_a_refusal_is_empty(result: StreamResult) -> None:
    """A refusal, and the mere record of a provider's tool, do not meet the default expectation."""
    assert (OutcomeKind.FAILED, FaultKind.UNEXPECTED_ANSWER) == outcome_of(result)


@pytest.mark.parametrize(
    "text",
    ["<think>\nThe user wants pong", "\n<THINK>pong", "<think>pong</think>\n", "<thinking>pong", "<reasoning>pong"],
)
@pytest.mark.parametrize("expect", [{}, {"contains": "pong"}, {"contains": "other"}])
def test_reasoning_as_text_that_is_cut_at_the_token_limit(text: str, expect: dict[str, Any]) -> None:
    """Text that is only reasoning, cut at the token limit, is ``token_limit_reached``, whatever words are in it."""
    assert (OutcomeKind.FAILED, FaultKind.TOKEN_LIMIT_REACHED) == outcome_of(
        StreamResult(text=text, finish_reason="length"), expect
    )


def test_message_of_reasoning_as_text_names_the_limit() -> None:
    """The message has the limit, also from ``extra_body``, and the parameter to raise."""
    spec = CanarySpec.model_validate(
        {"target": "t", "model": "m", "request": {"extra_body": {"max_tokens": 64}, "max_tokens": 9}}
    )
    fault = outcome_from_result(OUTCOME, StreamResult(text="<think>hm", finish_reason="length"), spec).fault
    assert fault is not None
    assert "the response is only reasoning within the token limit (64); raise max_tokens: '<think>hm'" == fault.message


@pytest.mark.parametrize(
    ("text", "finish_reason", "expect"),
    [
        ("<think>hm</think>pong", "length", {}),
        ("<think>hm", "stop", {}),
        ("pong <think>hm", "length", {}),
        ("<thinker>", "length", {}),
        ("<think>hm", "length", {"not_empty": False}),
    ],
)
def test_other_text_with_reasoning_is_an_answer(text: str, finish_reason: str, expect: dict[str, Any]) -> None:
    """Text after the reasoning, another end, or an expectation of nothing make it an answer."""
    assert (OutcomeKind.OK, None) == outcome_of(StreamResult(text=text, finish_reason=finish_reason), expect)


def test_repetition_in_reasoning_is_not_blamed_on_the_token_limit() -> None:
    """Reasoning that repeats itself until the token limit would not end at any limit."""
    result = StreamResult(text="<think>" + "/" * 300, finish_reason="length")
    assert (OutcomeKind.FAILED, FaultKind.UNEXPECTED_ANSWER) == outcome_of(result)


def test_a_degenerate_answer_is_not_blamed_on_the_token_limit() -> None:
    """A text that repeats itself until the token limit is an unexpected answer: no limit would be high enough."""
    result = StreamResult(text="/" * 300, finish_reason="length")
    assert FaultKind.UNEXPECTED_ANSWER == outcome_of(result, {"contains": "pong"})[1]
