"""Fuzz tests: any configuration is either valid or rejected with config errors."""

import json
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from streamcanary.settings import ConfigInvalid, load

VALID = {
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


def paths_in(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the paths of all values in ``value``."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(below for key, child in inner for below in paths_in(child, (*path, key)))]


def with_value_at(value: object, path: tuple[str | int, ...], new: object) -> object:
    """Return ``value`` with ``new`` at ``path``."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)  # type: ignore[call-overload]
    copy[path[0]] = with_value_at(copy[path[0]], path[1:], new)
    return copy


any_value = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["${X}", "${X:-5}", "${", "$$", "sk-correct-horse", "t", "ratio", "30s", "~", "1e999", "\ufeff"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def load_or_reject(text: bytes, environ: dict[str, str]) -> None:
    """Load ``text``; check that a ConfigInvalid has problems and contains no secret."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.yaml"
        path.write_bytes(text)
        try:
            load(path, environ)
        except ConfigInvalid as invalid:
            assert invalid.problems
            assert not any(secret in str(invalid) for secret in SECRETS)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(paths_in(VALID)), any_value, st.dictionaries(st.just("X"), st.text(max_size=8)))
def test_any_value_at_any_path_is_accepted_or_rejected(
    path: tuple[str | int, ...], value: object, environ: dict[str, str]
) -> None:
    """A valid configuration with any value at any path is valid or has config errors: JSON is YAML."""
    load_or_reject(json.dumps(with_value_at(VALID, path, value)).encode(), environ)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([path for path in paths_in(VALID) if path]), st.text(max_size=12))
def test_any_override_is_accepted_or_rejected(path: tuple[str | int, ...], value: str) -> None:
    """An override of any path with any text is valid or has config errors."""
    name = "STREAMCANARY_" + "__".join(str(part).upper().replace("-", "_") for part in path)
    load_or_reject(json.dumps(VALID).encode(), {name: value})


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "ignore")))
def test_any_bytes_are_accepted_or_rejected(text: bytes) -> None:
    """Any bytes, alone and within a configuration, are valid or have config errors."""
    load_or_reject(text, {})
    with suppress(UnicodeDecodeError):
        load_or_reject(b"targets: {t: {api_key: sk-correct-horse}}\ncanaries:\n  c: " + text, {})
