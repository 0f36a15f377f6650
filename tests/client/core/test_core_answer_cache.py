"""The answer cache."""

from streamcanary.client.core.answer_cache import AnswerCache, request_fingerprint
from streamcanary.client.result import StreamResult


def answer(text: str) -> StreamResult:
    return StreamResult(text=text)


def test_answer_expires_after_max_age() -> None:
    """The cache returns an answer until ``max_age`` and then drops it."""
    cache = AnswerCache(10)
    cache.put(b"a", answer("x"), now=100)
    assert [True, True, False, False] == [cache.get(b"a", 60, now) is not None for now in (100, 160, 160.1, 100)]


def test_newer_answer_replaces_older() -> None:
    """A later answer to the same request replaces the earlier one."""
    cache = AnswerCache(10)
    cache.put(b"a", answer("old"), now=0)
    cache.put(b"a", answer("new"), now=50)
    kept = cache.get(b"a", 60, 100)
    assert kept is not None
    assert "new" == kept.text


def test_cache_evicts_least_recently_used() -> None:
    """The cache evicts the least recently used answer when it is full."""
    cache = AnswerCache(2)
    cache.put(b"a", answer("a"), now=0)
    cache.put(b"b", answer("b"), now=0)
    cache.get(b"a", 60, 0)
    cache.put(b"c", answer("c"), now=0)
    assert [True, False, True] == [cache.get(key, 60, 0) is not None for key in (b"a", b"b", b"c")]


def test_cache_is_bounded_in_bytes() -> None:
    """Large answers evict each other, and an answer above the size limit is not stored."""
    cache = AnswerCache(10)
    cache.put(b"a", answer("x" * (10 << 20)), now=0)
    cache.put(b"b", answer("x" * (10 << 20)), now=0)
    cache.put(b"c", answer("x" * (17 << 20)), now=0)
    assert [False, False, False] == [cache.get(key, 60, 0) is not None for key in (b"a", b"b", b"c")]


def test_fingerprint_identifies_request() -> None:
    """Endpoint and arguments change the fingerprint, argument order does not; unserializable arguments have none."""
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
