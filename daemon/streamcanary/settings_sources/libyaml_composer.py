"""Composes the nodes of a large file with libyaml, forty times as fast as in Python.

Only what both parsers read in the same way is read here: for anything else, and for every error, :func:`compose`
returns ``None``, and the caller uses ruamel.yaml, whose messages users know. libyaml implements YAML 1.1, ruamel.yaml
1.2. They differ in what a plain scalar means, which is resolved by ruamel.yaml here too, and in line separators of
Unicode.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

_DIFFERENT: Final = re.compile("[\x85\u2028\u2029\ufeff]|^%|\t", re.MULTILINE)
"""Characters that are white space or line breaks in one version only, and directives."""


class _Unsupported(Exception):
    """The file is invalid, or has something that the parsers may read differently."""


def compose(yaml: YAML, text: str, *, max_nodes: int, max_depth: int) -> Node | None:
    """Return the root node of the one document in ``text``; ``None`` if ruamel.yaml has to read it.

    That includes a file with more than ``max_nodes`` keys and values, or a deeper one than ``max_depth``.
    """
    try:
        import yaml as pyyaml
        from yaml import CSafeLoader
    except ImportError:  # PyYAML was built without libyaml
        return None
    if _DIFFERENT.search(text):
        return None
    try:
        return _Composer(yaml, pyyaml.parse(text, Loader=CSafeLoader), max_nodes, max_depth).compose()
    except (pyyaml.YAMLError, _Unsupported, ValueError):
        return None


class _Composer:
    """Makes nodes of ruamel.yaml of the events of PyYAML."""

    def __init__(self, yaml: YAML, events: Iterator[Any], max_nodes: int, max_depth: int) -> None:
        self._resolve = yaml.resolver.resolve
        self._events = events
        self._nodes_left = max_nodes
        self._max_depth = max_depth
        self._anchors: dict[str, Node] = {}

    def compose(self) -> Node:
        self._expect("StreamStartEvent")
        self._expect("DocumentStartEvent")
        root = self._node(next(self._events), 0)
        self._expect("DocumentEndEvent")
        self._expect("StreamEndEvent")
        return root

    def _expect(self, kind: str) -> None:
        if type(next(self._events)).__name__ != kind:
            raise _Unsupported

    def _node(self, event: Any, depth: int) -> Node:
        kind = type(event).__name__
        if kind == "AliasEvent":
            if event.anchor not in self._anchors:
                raise _Unsupported
            return self._anchors[event.anchor]
        self._nodes_left -= 1
        if self._nodes_left < 0 or depth > self._max_depth or event.anchor in self._anchors:
            raise _Unsupported
        node: Node
        if kind == "ScalarEvent":
            tag = self._tag(ScalarNode, event, event.value)
            node = ScalarNode(tag, event.value, event.start_mark, event.end_mark, style=event.style)
        elif kind == "SequenceStartEvent":
            tag = self._tag(SequenceNode, event, None)
            node = SequenceNode(tag, [], event.start_mark, event.end_mark, flow_style=event.flow_style)
        elif kind == "MappingStartEvent":
            tag = self._tag(MappingNode, event, None)
            node = MappingNode(tag, [], event.start_mark, event.end_mark, flow_style=event.flow_style)
        else:
            raise _Unsupported
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        if kind == "SequenceStartEvent":
            node.value.extend(self._node(inner, depth + 1) for inner in self._until("SequenceEndEvent"))
        elif kind == "MappingStartEvent":
            for key in self._until("MappingEndEvent"):
                key_node = self._node(key, depth + 1)
                node.value.append((key_node, self._node(next(self._events), depth + 1)))
        return node

    def _until(self, end: str) -> Iterator[Any]:
        while type(event := next(self._events)).__name__ != end:
            yield event

    def _tag(self, kind: type[Node], event: Any, value: str | None) -> Any:
        return self._resolve(kind, value, event.implicit) if event.tag is None or event.tag == "!" else event.tag
