"""Collects the secrets of a configuration, so that they can be redacted."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from streamcanary.model.config_types.secret import Secret, SecretUnreadable, is_secret_file_key


class ConfigSecrets(Collection[str]):
    """The current secrets of ``models``, at any depth; those from files are read again when the files change.

    Of a file, the last two values count: a request that is still in flight has the former one, also if the file has
    become unreadable since.
    """

    def __init__(self, *models: BaseModel) -> None:
        self._secrets = list(_find_secrets(models))
        self._former: dict[int, tuple[str, ...]] = {}  # by the index of the secret
        self()

    def __call__(self) -> tuple[str, ...]:
        """Return the secrets; unreadable ones that were never read are left out, as they are not sent either."""
        for index, secret in enumerate(self._secrets):
            known = self._former.get(index, ())
            try:
                value = secret.reveal()
            except SecretUnreadable:
                continue
            if not known or known[0] != value:
                self._former[index] = (value, *known)[:2]
        return tuple(value for known in self._former.values() for value in known)

    def __iter__(self) -> Iterator[str]:
        return iter(self())

    def __len__(self) -> int:
        return len(self())

    def __contains__(self, text: object) -> bool:
        return text in self()


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
