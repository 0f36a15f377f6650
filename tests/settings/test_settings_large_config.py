"""Configurations with thousands of canaries."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from streamcanary.settings import ConfigInvalid, load
from streamcanary.settings_sources import document, libyaml_composer
from streamcanary.settings_sources.document import MAX_FILE_SIZE, MAX_VALUES, read_document

CANARY = """\
  chat-{number:05d}:
    target: local
    model: gpt-4o-mini
    prompt: "Reply with the single word pong. ({{nonce}})"
    request: {{max_completion_tokens: 64}}
    expect: {{contains: pong}}
    every: 60s
    timeouts: {{first_token: 10s, stall: 5s, total: 25s}}
    retry: {{max_attempts: 3}}
    fallbacks: [{{model: gpt-4.1-mini}}]
    slo: {{first_token: 2s, max_gap: 1s}}
    labels: {{tier: prod, team: search}}
"""
TARGETS = "targets:\n  local: {base_url: http://127.0.0.1:9/v1, api_key: none}\ncanaries:\n"
CONFIGS = sorted((Path(__file__).parent.parent / "fixtures" / "config").glob("*.yaml"))


def config_of(canaries: int) -> str:
    return TARGETS + "".join(CANARY.format(number=number) for number in range(canaries))


def test_ten_thousand_ordinary_canaries_are_within_the_limits() -> None:
    """A file of 10,000 canaries with all usual keys takes at most half of the size and of the values."""
    one = config_of(2)[len(config_of(1)) :]
    data = YAML(typ="safe", pure=True).load(one)

    def count(value: object) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return 1 + sum(map(count, inner))

    assert 10_000 * len(one) < MAX_FILE_SIZE * 0.6
    assert 10_000 * count(data) < MAX_VALUES * 0.6


def test_large_file_loads_with_positions(tmp_path: Path) -> None:
    """A large file is read with libyaml, into the same values, and errors have their line and column."""
    path = tmp_path / "large.yaml"
    text = config_of(500)
    assert len(text) > document.LARGE_SIZE
    path.write_text(text)
    settings = load(path, {})
    assert 500 == len(settings.canaries)
    assert 25.0 == settings.canaries["chat-00499"].timeouts.total
    path.write_text(text.replace("every: 60s", "every: soon", 1).replace("model: gpt-4o-mini", "modle: x", 2))
    with pytest.raises(ConfigInvalid) as error:
        load(path, {})
    places = {(problem.line, problem.path) for problem in error.value.problems}
    assert {(6, "canaries.chat-00000.modle"), (10, "canaries.chat-00000.every")} <= places


def nodes(node: Any, depth: int = 0) -> object:
    """Return a node as data: tag, value, style and position of everything in it.

    The position of an empty value is not compared: ruamel.yaml reports that of the next key after a comment.
    """
    place = (str(node.tag), node.start_mark.line, node.start_mark.column)
    if depth > 10:  # an alias of itself
        return place
    if isinstance(node, MappingNode):
        return (*place, [(nodes(key, depth + 1), nodes(value, depth + 1)) for key, value in node.value])
    if isinstance(node, SequenceNode):
        return (*place, [nodes(item, depth + 1) for item in node.value])
    return (*(place if node.value or node.style else place[:1]), node.value, node.style or None)


def composed_by_libyaml(text: str) -> Node | None:
    return libyaml_composer.compose(YAML(typ="safe", pure=True), text, max_nodes=10_000, max_depth=32)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_both_parsers_read_the_same(path: Path) -> None:
    """What libyaml reads is what ruamel.yaml reads, or it leaves the file to ruamel.yaml."""
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        return  # refused before it is parsed
    composed = composed_by_libyaml(text)
    if composed is not None:
        assert nodes(YAML(typ="safe", pure=True).compose(text)) == nodes(composed)


SCALARS = (
    *("yes", "no", "on", "0o17", "017", "1_000", "1e3", "0x1F", "12:30:45", "2001-01-01", "~", "null", "true", ".inf"),
    *("<<", "=", "-1", "+1.5", "''", '"\\u263a"', "'it''s'", "http://x", "a#b", "é", "*a", "a b", "!!str 1", "!x y"),
)
OTHERS = ("&a x", "{a: 1}", "[1, 2]", "|\n    text\n", ">-\n    folded\n    text\n", "# comment")
VALUES = st.sampled_from(SCALARS + OTHERS)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "yes", "1", "'q'"]), VALUES), min_size=1, max_size=6))
def test_both_parsers_read_the_same_scalars(entries: list[tuple[str, str]]) -> None:
    """Scalars that YAML 1.1 and 1.2 read differently have the meaning of ruamel.yaml."""
    text = "&a root:\n" + "".join(f"  {key}{number}: {value}\n" for number, (key, value) in enumerate(entries))
    composed = composed_by_libyaml(text)
    if composed is not None:
        assert nodes(YAML(typ="safe", pure=True).compose(text)) == nodes(composed)


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\n---\nb: 2\n",
        "%YAML 1.1\n---\na: 1\n",
        "a: *unknown\n",
        "a: 'open\n",
        "a: x\u2028y\n",
        "",
        "a: " + "[" * 40,
    ],
)
def test_what_differs_is_left_to_ruamel(text: str) -> None:
    """Several documents, directives, errors, other line breaks and deep files are not read with libyaml."""
    assert composed_by_libyaml(text) is None


def test_bomb_of_aliases_is_refused_in_a_large_file(tmp_path: Path) -> None:
    """Aliases that expand to many values are refused by either parser."""
    path = tmp_path / "bomb.yaml"
    levels = "".join(f"l{n + 1}: &l{n + 1} [{', '.join([f'*l{n}'] * 9)}]\n" for n in range(8))
    path.write_text(f"# {'x' * document.LARGE_SIZE}\nl0: &l0 [x]\n{levels}")
    with pytest.raises(ConfigInvalid, match="has more than 50000 values from aliases"):
        read_document(path)
