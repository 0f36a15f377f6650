"""Whatever is given as a configuration, it is taken or refused: there is no third way."""

import json
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from streamcanary.settings import ConfigInvalid, load

SOUND = {
    "instance": "here",
    "targets": {"t": {"api_key": "sk-correct-horse", "headers": {"X-Team": "sk-battery-staple"}}},
    "canaries": {
        "c": {
            "target": "t",
            "model": "m",
            "every": "30s",
            "timeouts": {"total": "20s"},
            "fallbacks": [{"model": "n"}],
            "request": {"temperature": 1},
            "labels": {"tier": "prod"},
        }
    },
    "alerts": {
        "rules": {"R": {"match": ['tier="prod"'], "detector": {"type": "ratio", "over": "5m", "threshold": "50%"}}},
        "receivers": {"a": {"type": "alertmanager", "urls": ["http://localhost:9093"]}},
        "routes": [{"receivers": ["a"]}],
    },
    "telemetry": {"otlp": {"endpoint": "http://localhost:4318"}},
    "store": {"path": "x.db"},
    "web": {"port": 1},
}
SECRETS = ("correct-horse", "battery-staple")


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the path of everything in ``value``."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, held in inner for place in places(held, (*path, key)))]


def put(value: object, path: tuple[str | int, ...], new: object) -> object:
    """Return ``value`` with ``new`` at ``path``."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)  # type: ignore[call-overload]
    copy[path[0]] = put(copy[path[0]], path[1:], new)
    return copy


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["${X}", "${X:-5}", "${", "$$", "sk-correct-horse", "t", "ratio", "30s", "~", "1e999", "\ufeff"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def check(text: bytes, environ: dict[str, str]) -> None:
    """Load ``text``; what is said about it has no secret."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.yaml"
        path.write_bytes(text)
        try:
            load(path, environ)
        except ConfigInvalid as invalid:
            assert invalid.problems
            assert not any(secret in str(invalid) for secret in SECRETS)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(places(SOUND)), anything, st.dictionaries(st.just("X"), st.text(max_size=8)))
def test_anything_anywhere_is_taken_or_refused(
    path: tuple[str | int, ...], value: object, environ: dict[str, str]
) -> None:
    """A sound configuration with any value in any place: JSON is YAML."""
    check(json.dumps(put(SOUND, path, value)).encode(), environ)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([place for place in places(SOUND) if place]), st.text(max_size=12))
def test_any_override_is_taken_or_refused(path: tuple[str | int, ...], value: str) -> None:
    """A variable for any place, with any text."""
    name = "STREAMCANARY_" + "__".join(str(part).upper().replace("-", "_") for part in path)
    check(json.dumps(SOUND).encode(), {name: value})


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "ignore")))
def test_any_bytes_are_taken_or_refused(text: bytes) -> None:
    """Alone, and in the midst of a configuration."""
    check(text, {})
    with suppress(UnicodeDecodeError):
        check(b"targets: {t: {api_key: sk-correct-horse}}\ncanaries:\n  c: " + text, {})
