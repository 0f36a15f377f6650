"""Collects the secrets of a configuration, so that the log redacts them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from streamcanary.model.config_types.secret import Secret, SecretUnreadable, is_secret_file_key


class ConfigSecrets:
    """Returns the current secrets when called; secrets from files are read again when they change."""

    def __init__(self, settings: BaseModel) -> None:
        self._secrets = list(_find_secrets(settings))

    def __call__(self) -> list[str]:
        """Return the secrets. An unreadable file keeps its last value, or is skipped if it was never read."""
        revealed = []
        for secret in self._secrets:
            try:
                revealed.append(secret.reveal())
            except SecretUnreadable:
                continue
        return revealed


def _find_secrets(value: Any) -> Iterator[Secret]:
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            inner = getattr(value, name)
            if is_secret_file_key(name) and isinstance(inner, Path):
                yield Secret(path=inner)
            else:
                yield from _find_secrets(inner)
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _find_secrets(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _find_secrets(inner)
