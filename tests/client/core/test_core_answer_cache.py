"""The cache of last good answers."""

from streamcanary.client.core.answer_cache import AnswerCache, request_fingerprint
from streamcanary.client.result import StreamResult


def answer(text: str) -> StreamResult:
    return StreamResult(text=text)


def test_an_answer_has_an_age() -> None:
    """An answer is given until it is too old, and then forgotten."""
    cache = AnswerCache(10)
    cache.put(b"a", answer("x"), now=100)
    assert [True, True, False, False] == [cache.get(b"a", 60, now) is not None for now in (100, 160, 160.1, 100)]


def test_the_newest_answer_counts() -> None:
    """A later answer to the same request takes the place of the earlier one."""
    cache = AnswerCache(10)
    cache.put(b"a", answer("old"), now=0)
    cache.put(b"a", answer("new"), now=50)
    kept = cache.get(b"a", 60, 100)
    assert kept is not None
    assert "new" == kept.text


def test_it_is_bounded_in_number() -> None:
    """The ones that were not asked for longest go first."""
    cache = AnswerCache(2)
    cache.put(b"a", answer("a"), now=0)
    cache.put(b"b", answer("b"), now=0)
    cache.get(b"a", 60, 0)
    cache.put(b"c", answer("c"), now=0)
    assert [True, False, True] == [cache.get(key, 60, 0) is not None for key in (b"a", b"b", b"c")]


def test_it_is_bounded_in_size() -> None:
    """Large answers push each other out, and one that is too large for it is not kept at all."""
    cache = AnswerCache(10)
    cache.put(b"a", answer("x" * (10 << 20)), now=0)
    cache.put(b"b", answer("x" * (10 << 20)), now=0)
    cache.put(b"c", answer("x" * (17 << 20)), now=0)
    assert [False, False, False] == [cache.get(key, 60, 0) is not None for key in (b"a", b"b", b"c")]


def test_requests_are_told_apart() -> None:
    """Another endpoint or argument is another request, another order is not; what cannot be told has no key."""
    same = request_fingerprint("e", {"model": "m", "messages": [{"role": "user", "content": "x"}]})
    assert same == request_fingerprint("e", {"messages": [{"role": "user", "content": "x"}], "model": "m"})
    others = {
        request_fingerprint("f", {"model": "m", "messages": [{"role": "user", "content": "x"}]}),
        request_fingerprint("e", {"model": "n", "messages": [{"role": "user", "content": "x"}]}),
        request_fingerprint("e", {"model": "m", "messages": [{"role": "user", "content": "y"}]}),
        request_fingerprint("e", {"model": "m", "messages": [{"role": "user", "content": "x"}], "seed": 1}),
    }
    assert (4, False) == (len(others), same in others)
    assert None is request_fingerprint("e", {"model": object()})
