"""Reads a YAML file into plain data, with the position of every key and value.

Stricter than YAML: no duplicate keys, only the core types, keys are text (``no:`` is the key ``no``). Size, depth and
number of values are limited, with aliases expanded.
"""

import hashlib
import math
import re
import stat
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct, field
from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from streamcanary.model.redaction.redactor import scrub
from streamcanary.settings_sources import libyaml_composer
from streamcanary.settings_sources.problem import ConfigInvalid, KeyPath, Problem, format_path

MAX_FILE_SIZE = 8 * 1024 * 1024
"""Bytes: more than twice what 10,000 ordinary canaries take. A Kubernetes ConfigMap is limited to 1 MiB."""
MAX_DEPTH = 32
MAX_VALUES = 500_000
"""Values in a file: more than twice those of 10,000 ordinary canaries."""
MAX_ALIASED_VALUES = 50_000
"""Values that aliases add: a small file can expand to a large tree."""
LARGE_SIZE = 32 * 1024
"""Characters above which a file is read with libyaml: smaller ones take less than half a second without."""
_MAX_NODES = 2 * MAX_VALUES  # keys and values

_CORE = "tag:yaml.org,2002:"
_QUOTED = re.compile(r"""(['"])(.*?)\1""")


class Position(NamedTuple):
    """A line and a column, counted from 1."""

    line: int
    column: int


class Document(Struct, kw_only=True):
    """The data of a configuration file, the position of each part, and the problems found so far.

    ``unquoted_paths`` are the paths of text without quotes, which may be a number after variables are substituted.
    ``variables`` are the paths that were set from the environment, with the name of the variable. ``secrets`` are
    redacted in every message. ``content_hash`` is that of the bytes of the file, see :func:`content_hash_of`.
    """

    file: Path
    data: dict[str, Any]
    key_positions: dict[KeyPath, Position] = field(default_factory=dict)
    value_positions: dict[KeyPath, Position] = field(default_factory=dict)
    unquoted_paths: set[KeyPath] = field(default_factory=set)
    variables: dict[KeyPath, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    content_hash: str = ""
    problems: list[Problem] = field(default_factory=list)

    def problem_at(self, path: KeyPath, message: str, *, at_key: bool = False) -> Problem:
        """Return a problem at ``path``; without a value there, the position is that of the nearest key above it."""
        message = scrub(message, self.secrets, limit=1000)
        at_key = at_key or isinstance(self.get(path), (dict, list))
        for end in range(len(path), -1, -1):
            above = path[:end]
            if name := self.variables.get(above):
                return Problem(file=self.file, path=format_path(path), message=message, variable=name)
            first, second = (
                (self.key_positions, self.value_positions)
                if at_key or end < len(path)
                else (self.value_positions, self.key_positions)
            )
            if position := first.get(above) or second.get(above):
                break
        else:
            position = Position(1, 1)
        return Problem(
            file=self.file, line=position.line, column=position.column, path=format_path(path), message=message
        )

    def get(self, path: KeyPath) -> Any:
        """Return the value at ``path``, or ``None`` if there is none."""
        value: Any = self.data
        for part in path:
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return None
        return value

    def put(self, path: KeyPath, value: Any) -> None:
        """Set the value at ``path``; missing maps above it are created."""
        parent: Any = self.data
        for part in path[:-1]:
            if isinstance(parent, dict) and parent.get(part) is None:
                parent[part] = {}
            parent = parent[part]
        parent[path[-1]] = value


def read_document(file: Path) -> Document:
    """Read ``file``; problems that allow reading on, such as duplicate keys, are added to ``problems``.

    Raises:
        ConfigInvalid: if the file cannot be read, is not YAML, or does not contain a map.
    """
    content = _read(file)
    text = _decode(file, content)
    yaml = YAML(typ="safe", pure=True)
    yaml.allow_duplicate_keys = True  # reported by this module: all of them, with both positions
    yaml.Composer = _BoundedComposer
    root = None
    try:
        if len(text) > LARGE_SIZE:
            root = libyaml_composer.compose(yaml, text, max_nodes=_MAX_NODES, max_depth=MAX_DEPTH)
        if root is None:
            root = yaml.compose(text)
    except _TooManyNodes:
        raise _file_error(file, f"has more than {MAX_VALUES} values") from None
    except RecursionError:
        raise _file_error(file, f"is nested more than {MAX_DEPTH} levels deep") from None
    except MarkedYAMLError as error:
        raise ConfigInvalid([_syntax_problem(file, error)]) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"character U+{error.character:04X} is not allowed in YAML; remove it"
        raise ConfigInvalid([Problem(file=file, line=line, message=message)]) from None
    except YAMLError:
        raise _file_error(file, "is not YAML") from None
    if root is None or (isinstance(root, ScalarNode) and not root.value):
        raise _file_error(file, "is empty; a configuration has at least the sections targets and canaries")
    if not isinstance(root, MappingNode):
        kind = "a list" if isinstance(root, SequenceNode) else "text"
        raise _file_error(file, f"holds {kind}, not a map; a configuration has sections such as targets: and canaries:")
    document = Document(file=file, data={}, content_hash=content_hash_of(content))
    document.data = _NodeReader(document, yaml).read(root, ())
    return document


def _file_error(file: Path, message: str) -> ConfigInvalid:
    return ConfigInvalid([Problem(file=file, message=message)])


def content_hash_of(content: bytes) -> str:
    """Return the SHA-256 of ``content`` in hexadecimal digits, as ``sha256sum`` prints it."""
    return hashlib.sha256(content).hexdigest()


def read_content_hash(file: Path) -> str:
    """Return the hash of the content of ``file``.

    Raises:
        ConfigInvalid: if the file cannot be read.
    """
    return content_hash_of(_read(file))


def _read(file: Path) -> bytes:
    try:
        mode = file.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a pipe would block until something writes to it
            raise _file_error(file, "is not a regular file; give the path of a configuration file")
        with file.open("rb") as opened:
            content = opened.read(MAX_FILE_SIZE + 1)
    except FileNotFoundError:
        raise _file_error(file, "no such file; give the path of a configuration file") from None
    except IsADirectoryError:
        raise _file_error(file, "is a directory; give the path of a configuration file in it") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or "not a valid path"
        raise _file_error(file, f"cannot be read: {reason}") from None
    if len(content) > MAX_FILE_SIZE:
        raise _file_error(file, "is larger than 8 MiB; a configuration is a small text file")
    return content


def _decode(file: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _file_error(file, "is not UTF-8 text; a configuration is a YAML file") from None


def _syntax_problem(file: Path, error: MarkedYAMLError) -> Problem:
    """Return the error of the parser as a problem, without the text that it quotes, which could be a secret."""
    mark = error.problem_mark or error.context_mark
    message = " ".join(part for part in (error.context, error.problem) if part)
    message = _QUOTED.sub(_redact_quoted, message.split("\n")[0]) or "cannot be parsed"
    if "'{'" in message:
        message += "; put a value with braces in quotes"
    if "'\\t'" in message:
        message += "; indent with spaces"
    line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
    return Problem(file=file, line=line, column=column, message=f"YAML syntax: {message}")


def _redact_quoted(quoted: re.Match[str]) -> str:
    """Return the quoted text if it is one character or a token name such as ``<block end>``, else ``it``."""
    return quoted[0] if len(quoted[2]) <= 2 or quoted[2].startswith("<") else "it"


class _TooManyNodes(Exception):
    """The file has more values than are read; raised early, because a node takes some 50 µs."""


class _BoundedComposer(Composer):
    """Composes nodes, up to :data:`MAX_VALUES` keys and as many values."""

    _nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise _TooManyNodes
        return super().compose_node(parent, index)


class _NodeReader:
    """Converts YAML nodes to plain data; limits what aliases can add."""

    def __init__(self, document: Document, yaml: YAML) -> None:
        self._document = document
        self._yaml = yaml
        self._read_nodes: set[int] = set()
        self._aliased = 0

    def read(self, node: Node, path: KeyPath) -> Any:
        """Return ``node`` as plain data, and record the positions of its keys and values."""
        self._aliased += id(node) in self._read_nodes
        self._read_nodes.add(id(node))
        if self._aliased > MAX_ALIASED_VALUES:
            raise _file_error(self._document.file, f"has more than {MAX_ALIASED_VALUES} values from aliases")
        if len(path) > MAX_DEPTH:
            raise _file_error(self._document.file, f"is nested more than {MAX_DEPTH} levels deep with aliases expanded")
        self._document.value_positions[path] = _position(node)
        if isinstance(node, MappingNode):
            return self._read_map(node, path)
        if isinstance(node, SequenceNode):
            return [self.read(item, (*path, number)) for number, item in enumerate(node.value)]
        assert isinstance(node, ScalarNode)  # noqa: S101 - YAML has no fourth kind of node
        return self._read_scalar(node, path)

    def _read_map(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._add_problem(
                    path, _position(key), "a key must be text; put text with braces or brackets in quotes"
                )
                continue
            name, position = key.value, _position(key)
            inner = (*path, name)
            if key.tag == f"{_CORE}merge":
                self._add_problem(inner, position, "merge keys are not supported; write the keys out")
            elif name in result:
                first = self._document.key_positions[inner].line
                self._add_problem(inner, position, f"duplicate key, first used in line {first}; keep one of them")
            else:
                self._document.key_positions[inner] = position
                result[name] = self.read(value, inner)
        return result

    def _read_scalar(self, node: ScalarNode, path: KeyPath) -> Any:
        tag = str(node.tag)
        if not node.style and tag == f"{_CORE}str":
            self._document.unquoted_paths.add(path)
        if not tag.startswith(_CORE):
            self._add_problem(path, _position(node), "tags such as !name are not supported; remove it")
            return node.value
        try:
            return construct_scalar(self._yaml, node)
        except ValueError as error:
            self._add_problem(path, _position(node), str(error))
            return node.value

    def _add_problem(self, path: KeyPath, position: Position, message: str) -> None:
        problem = Problem(
            file=self._document.file,
            line=position.line,
            column=position.column,
            path=format_path(path),
            message=message,
        )
        self._document.problems.append(problem)


def _position(node: Node) -> Position:
    return Position(node.start_mark.line + 1, node.start_mark.column + 1)


def construct_scalar(yaml: YAML, node: ScalarNode) -> Any:
    """Return the value of ``node``: a number, a Boolean, ``None`` or text; a date stays text.

    Raises:
        ValueError: if it is a number that is not finite, or longer than 100 characters.
    """
    if node.tag not in {f"{_CORE}{name}" for name in ("int", "float", "bool", "null")}:
        return node.value
    if len(node.value) > 100:
        raise ValueError("is too long for a number; put text in quotes")
    value = yaml.constructor.construct_object(node)
    if isinstance(value, float) and not (math.isfinite(value) and abs(value) < 1e300):
        raise ValueError("must be a finite number")
    return value


def parse_scalar(text: str) -> Any:
    """Return the value of ``text`` as YAML reads it without quotes.

    Raises:
        ValueError: as :func:`construct_scalar`.
    """
    yaml = YAML(typ="safe", pure=True)
    return construct_scalar(yaml, ScalarNode(yaml.resolver.resolve(ScalarNode, text, (True, False)), text))
