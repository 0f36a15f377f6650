"""Values that a shell offers for arguments: the names in the configuration that the command line names.

A shell starts the program at every Tab. The names are read from the YAML itself, in a few milliseconds; whether the
configuration is valid is not the question then.
"""

import argparse
from pathlib import Path

_MAX_FILE_SIZE = 1_000_000  # bytes; more canaries than that are not chosen from a list
_MAX_NAMES = 1000
_DEFAULT_CONFIG = Path("streamcanary.yaml")  # what `init` writes


def complete_canary(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """Return the names of canaries that begin with ``prefix``."""
    return _names(prefix, parsed_args, ("canaries",))


def complete_receiver(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """Return the names of receivers that begin with ``prefix``."""
    return _names(prefix, parsed_args, ("alerts", "receivers"))


def _names(prefix: str, arguments: argparse.Namespace, keys: tuple[str, ...]) -> list[str]:
    """Return the keys of a mapping in the configuration; none if it cannot be read, because Tab prints no errors."""
    import yaml

    path = getattr(arguments, "config", None) or _DEFAULT_CONFIG
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_SIZE + 1)
        if len(content) > _MAX_FILE_SIZE:
            return []
        # Not the objects of the document: aliases in it could make it grow without bound.
        node = yaml.compose(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return []
    for key in keys:
        node = next((value for name, value in _items(node) if name == key), None)
    names = [name for name, _ in _items(node)]
    return [name for name in names if name.startswith(prefix) and name.isprintable()][:_MAX_NAMES]


def _items(node: object) -> list[tuple[str, object]]:
    """Return the keys and values of a YAML mapping; none of another node."""
    import yaml

    if not isinstance(node, yaml.MappingNode):
        return []
    return [(key.value, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)]
