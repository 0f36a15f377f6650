"""Secrets that no repr, log line or validation error shows."""

import stat
from pathlib import Path
from typing import Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

from streamcanary.model.config_types.config_issue import ConfigIssue, raise_config_errors
from streamcanary.model.redaction.key_patterns import MASK

FILE_KEY = "file"
"""The key in ``{file: PATH}``."""

_OTHER_FILES = frozenset({"ca_file", "liveness_file"})
_MAX_FILE_BYTES = 64 * 1024


def is_secret_file_key(key: str) -> bool:
    """Return whether the setting ``key`` is the path of a secret file: ``api_key_file`` is, ``ca_file`` is not."""
    return key == FILE_KEY or (key.endswith("_file") and key not in _OTHER_FILES)


class SecretUnreadable(Exception):
    """The file of a secret cannot be read, or is empty."""


class Secret:
    """A secret from the configuration, or from a file that is read again when it changes.

    ``str()`` and ``repr()`` return a mask. Kubernetes replaces the files of a mounted Secret in a running pod, so every
    :meth:`reveal` checks the file, and reads it again if its inode, size or modification time differs.
    """

    __slots__ = ("_file_version", "_path", "_value")

    def __init__(self, value: str | None = None, *, path: Path | None = None) -> None:
        if (value is None) is (path is None):
            raise ValueError("a secret needs either a value or a file")
        self._value = value
        self._path = path
        self._file_version: tuple[int, int, int] | None = None

    @property
    def path(self) -> Path | None:
        """The path of its file, if any."""
        return self._path

    def reveal(self) -> str:
        """Return the secret in plain text, without surrounding white space.

        Raises:
            SecretUnreadable: if the file is missing, no regular file, empty, not UTF-8, or larger than 64 KiB.
        """
        if self._path is not None:
            self._refresh(self._path)
        return (self._value or "").strip()

    def _refresh(self, path: Path) -> None:
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):  # opening a pipe would block until it has a writer
                raise SecretUnreadable(f"cannot read the secret file {path}: it is not a regular file")
            version = (status.st_ino, status.st_size, status.st_mtime_ns)
            if version == self._file_version:
                return
            with path.open(encoding="utf-8") as file:
                value = file.read(_MAX_FILE_BYTES + 1)
        except OSError as error:
            raise SecretUnreadable(f"cannot read the secret file {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SecretUnreadable(f"the secret file {path} is not UTF-8 text") from None
        except ValueError:  # a NUL in the path
            raise SecretUnreadable("the path of a secret file is not valid") from None
        if len(value) > _MAX_FILE_BYTES:
            raise SecretUnreadable(f"the secret file {path} is larger than 64 KiB")
        if not value.strip():
            raise SecretUnreadable(f"the secret file {path} is empty")
        self._value, self._file_version = value, version

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self._path, self._path or self._value) == (
            other._path,
            other._path or other._value,
        )

    def __hash__(self) -> int:
        return hash((self._path, self._path or self._value))

    def __repr__(self) -> str:
        return f"Secret(path={str(self._path)!r})" if self._path else f"Secret({MASK!r})"

    def __str__(self) -> str:
        return MASK

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Accept text or ``{file: PATH}`` in a config model; serialize to the mask."""
        return core_schema.no_info_plain_validator_function(
            cls._from_config, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, object]:
        """Return the JSON Schema, as :meth:`json_schema`."""
        return cls.json_schema()

    @staticmethod
    def json_schema() -> dict[str, object]:
        """Return the JSON Schema: write-only text, or the path of its file."""
        return {
            "type": ["string", "object"],
            "minLength": 1,
            "writeOnly": True,
            "properties": {FILE_KEY: {"description": "Path of a file that contains it.", "type": "string"}},
            "required": [FILE_KEY],
            "additionalProperties": False,
        }

    @classmethod
    def _from_config(cls, value: object) -> Self:
        if isinstance(value, cls):
            return value
        if isinstance(value, dict) and value.keys() == {FILE_KEY} and isinstance(value[FILE_KEY], (str, Path)):
            secret = cls(path=Path(value[FILE_KEY]))
            try:
                secret.reveal()  # report an unreadable file when the configuration is loaded
            except SecretUnreadable as error:
                raise_config_errors(cls.__name__, [ConfigIssue((FILE_KEY,), str(error))])
            return secret
        if isinstance(value, (bool, int, float)):
            raise ValueError("a secret must be text; put it in quotes")
        if not isinstance(value, str):
            raise ValueError("a secret must be text, or the path of its file: {file: PATH}")
        if not value.strip():
            raise ValueError("a secret must be text and not empty")
        return cls(value)
