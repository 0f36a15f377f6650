"""Regular expressions of users: matched by RE2, as Alertmanager does, with bounded work."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcanary.model.config_types.regular_expression import MAX_PATTERN_LENGTH, InvalidPattern, compile_pattern

ADVERSARIAL = [
    "([a-z-]+)+X",
    "(a*)*b",
    "(a|a)*b",
    "(a|aa)+$",
    "(.*a){20}",
    "(?:a?){1000}a{1000}",
    "(?:.?){700}x",
    "(.*)*(.*)*(.*)*=",
    r"(\w+\s?)*!",
    ".*.*.*.*.*.*.*X",
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("pattern", ADVERSARIAL)
def test_matching_time_is_bounded(pattern: str) -> None:
    """Patterns for which backtracking would not end are matched against long names in linear time."""
    expression = compile_pattern(pattern)
    for length in (34, 63, 4000):
        assert [False, False] == [expression.matches("a" * length + end) for end in ("!!", "\n")]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("pattern", ADVERSARIAL)
def test_search_work_is_bounded(pattern: str) -> None:
    """A text is searched, or rejected because the expression is too large for its length."""
    expression = compile_pattern(pattern)
    largest = "a" * expression.max_searched_bytes
    expression.search(largest)
    with pytest.raises(ValueError, match="this expression can search"):
        expression.search(largest + "a")


def test_a_simple_expression_searches_the_largest_answer_of_a_model() -> None:
    """The bound on work is no limit for an ordinary expression: a million characters are searched."""
    expression = compile_pattern(r"(?i)\bpong\b")
    assert (True, False) == (expression.search("x " * 500_000 + "PONG"), expression.search("x" * 1_000_000))


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("chat", "chat", True),
        ("chat", "chat-mini", False),
        ("chat", "my-chat", False),
        ("chat", "Chat", False),
        ("(?i)chat", "CHAT", True),
        ("a|b", "ab", False),
        ("chat.*", "chat\nmini", False),
        ("(?s)chat.*", "chat\nmini", True),
        ("chat$", "chat\n", False),
        ("^chat$", "chat", True),
        ("(?m)^a$", "x\na", False),
        (".", "é", True),
        (".", "😀", True),
        ("..", "é", False),
        ("(?i)É", "é", True),
        (r"\w", "é", False),
        (r"\pL", "é", True),
        ("", "", True),
        ("", "a", False),
        (".", "\ud83d", True),
        ("\U0001f600", "\ud83d\ude00", True),
        ("a\x00b", "a\x00b", True),
    ],
)
def test_the_whole_text_is_matched_as_in_alertmanager(pattern: str, text: str, matches: bool) -> None:
    """The results are those of Go's ``regexp`` with ``^(?:PATTERN)$``."""
    assert matches is compile_pattern(pattern).matches(text)


ATOMS = st.sampled_from(["a", "B", ".", "é", "😀", r"\n", "[ab]", "[^a]", "[é-ö]", r"\.", "^", "$", " "])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,3}"])).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
    ),
    max_leaves=6,
)


@given(PATTERNS, st.booleans(), st.text("abAB.éÉ😀ü\n\r ", max_size=6))
def test_simple_patterns_match_as_with_re(pattern: str, ignores_case: bool, text: str) -> None:
    """Simple patterns, anchored at both ends, match the same texts as with ``re``, whose end of text is not ``$``."""
    flag = "(?i)" if ignores_case else ""
    reference = re.compile(rf"{flag}\A(?:{pattern})\Z".replace("$", r"\Z"))
    assert (reference.search(text) is not None) is compile_pattern(flag + pattern).matches(text)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "missing ): ("),
        ("a)", "unexpected ): a)"),
        ("[a", "missing ] at character 1: [a"),
        ("a|*b", "no argument for repetition operator at character 3: *b"),
        ("chat(?=-mini)", "invalid perl operator at character 5: (?=-mini); lookaheads are not supported"),
        ("(?!chat).*", "invalid perl operator at character 1: (?!chat).*; lookaheads are not supported"),
        ("(?<=a)b", "invalid perl operator at character 1: (?<=a)b; lookbehinds are not supported"),
        (r"(a)\1", r"invalid escape sequence at character 4: \1; backreferences are not supported"),
        ("(?P=n)", "invalid perl operator at character 1: (?P=n); backreferences are not supported"),
        ("(?P<n>a)(?P=n)", "invalid perl operator: (?P; only (?P<name>...) is supported"),
        (r"a\Z", r"invalid escape sequence at character 2: \Z; write \z"),
        (r"\u20AC", r"invalid escape sequence at character 1: \u20AC; write \x{20AC} for U+20AC"),
        ("a*+", "bad repetition operator at character 2: *+; possessive repetitions are not supported, and not needed"),
        ("a{1001}", "invalid repetition size at character 2: {1001}"),
        (r"[\pL]{1000}", "is too large when compiled; write fewer or smaller repetitions such as {100}"),
        ("x" * 5000, f"has 5000 characters; at most {MAX_PATTERN_LENGTH} are allowed"),
        ("a\ud800", "has half a surrogate pair at character 2"),
        ("(\n\x1b", "missing ): ("),
        ("(" + "x" * 100, f"missing ): ({'x' * 38}…"),
    ],
)
def test_an_invalid_pattern_is_rejected_with_place_and_reason(pattern: str, message: str) -> None:
    """The message says what is wrong, where, and what is not supported; it is short and has no control characters."""
    with pytest.raises(InvalidPattern) as caught:
        compile_pattern(pattern)
    assert message == str(caught.value)
