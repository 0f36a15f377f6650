"""Compares two configurations: what has changed, and what of it a running process cannot apply. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel

from streamcanary.model.status.config_reload import ConfigChange
from streamcanary.settings import Settings

_MAPS: Final = (
    ("targets",),
    ("canaries",),
    ("alerts", "receivers"),
    ("alerts", "maintenance"),
)
"""Maps of which each entry is compared; ``alerts.rules`` is one, too, with the built-in rules."""

RESTART_KEYS: Final = (
    ("region",),
    ("store",),
    ("web", "enabled"),
    ("web", "host"),
    ("web", "port"),
    ("web", "liveness_file"),
    ("telemetry",),
)
"""What a running process cannot change: it has the database open, the port bound, and the providers installed."""

RELOADABLE_KEYS: Final = (
    ("telemetry", "otlp", "endpoint"),
    ("telemetry", "otlp", "headers"),
    ("telemetry", "otlp", "protocol"),
    ("telemetry", "otlp", "timeout"),
    ("telemetry", "conventions"),
    ("store", "generation"),
)
"""What of that it can: the exporters are replaced, and the providers stay."""

_MAX_DEPTH: Final = 3  # keys of a change; deeper ones belong to one thing, such as a canary


def config_changes(before: Settings, after: Settings) -> tuple[ConfigChange, ...]:
    """Return what differs, in the order of the configuration: maps by entry, other sections by key."""
    return tuple(ConfigChange(".".join(path), change) for path, change in _changes(before, after))


def restart_needed(before: Settings, after: Settings) -> tuple[str, ...]:
    """Return the changed keys that take effect only after a restart."""
    return tuple(".".join(path) for path, _ in _changes(before, after) if _needs_restart(path))


Path = tuple[str, ...]


def _changes(before: Settings, after: Settings) -> Iterator[tuple[Path, str]]:
    for name in type(before).model_fields:
        yield from _compare((name,), getattr(before, name), getattr(after, name))


def _compare(path: Path, before: Any, after: Any) -> Iterator[tuple[Path, str]]:
    if path == ("alerts",):
        for name in type(before).model_fields:
            if name == "rules":  # an override with a default value changes a built-in rule, and not itself
                yield from _compare_maps((*path, name), before.all_rules, after.all_rules)
            else:
                yield from _compare((*path, name), getattr(before, name), getattr(after, name))
    elif path in _MAPS:
        yield from _compare_maps(path, before, after)
    elif before is None or after is None:
        if before is not after:
            yield path, "added" if before is None else "removed"
    elif _is_section(path, before, after):
        for name in type(before).model_fields:
            yield from _compare((*path, name), getattr(before, name), getattr(after, name))
    elif not _is_equal(before, after):
        yield path, "changed"


def _compare_maps(path: Path, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    former_names = {name: getattr(entry, "renamed_from", None) for name, entry in after.items() if name not in before}
    renamed = {name for name in former_names.values() if name in before and name not in after}
    for name in {**before, **after}:
        if name not in before:
            yield (*path, name), "renamed" if former_names[name] in renamed else "added"
        elif name not in after:
            if name not in renamed:
                yield (*path, name), "removed"
        elif not _is_equal(before[name], after[name]):
            yield (*path, name), "changed"


def _is_section(path: Path, before: Any, after: Any) -> bool:
    return len(path) < _MAX_DEPTH and isinstance(before, BaseModel) and type(before) is type(after)


def _is_equal(before: Any, after: Any) -> bool:
    """Return whether both are the same configuration; what a model keeps while it is used does not count."""
    if isinstance(before, BaseModel) and type(before) is type(after):
        return all(_is_equal(getattr(before, name), getattr(after, name)) for name in type(before).model_fields)
    return bool(before == after)


def _needs_restart(path: Path) -> bool:
    return _is_below(path, RESTART_KEYS) and not _is_below(path, RELOADABLE_KEYS)


def _is_below(path: Path, keys: tuple[Path, ...]) -> bool:
    return any(path[: len(key)] == key for key in keys)
