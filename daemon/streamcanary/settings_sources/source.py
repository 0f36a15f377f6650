"""The pydantic-settings source: reads the file, substitutes variables, applies overrides."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from streamcanary.model.config_types.secret import Secret, SecretUnreadable, is_secret_file_key
from streamcanary.settings_sources.document import Document, parse_scalar, read_document
from streamcanary.settings_sources.interpolation import interpolate
from streamcanary.settings_sources.overrides import ambiguous_names, apply_overrides
from streamcanary.settings_sources.shape import Shape, leaves, may_be_number
from streamcanary.settings_sources.type_check import expected_type

_SECRET_NAME = re.compile(r"key|token|secret|passw|credential", re.IGNORECASE)
_MIN_SECRET_LENGTH = 6  # characters; shorter values, such as the key "none", are not redacted in messages


class YamlAndEnvSource(PydanticBaseSettingsSource):
    """Reads all sources when it is created; ``document.problems`` has the problems found so far.

    In the data for pydantic, secrets are :class:`~streamcanary.model.config_types.secret.Secret` values, and paths are
    absolute: relative ones are relative to the directory of the file.

    Raises:
        ConfigInvalid: if the file cannot be read, is not YAML, or does not contain a map.
    """

    def __init__(self, settings: type[BaseSettings], file: Path, environ: Mapping[str, str]) -> None:
        super().__init__(settings)
        self.shape: Shape = (settings,)
        self.document: Document = read_document(file)
        for name, value in environ.items():
            if _SECRET_NAME.search(name):
                self._scrub_from_messages(value)
        substituted = interpolate(self.document, environ)
        apply_overrides(self.document, self.shape, environ)
        self.document.problems.extend(ambiguous_names(self.document, self.shape))
        untyped = (substituted & self.document.unquoted_paths) | self.document.variables.keys()
        for path, shape, value in [*leaves(self.shape, self.document.data)]:
            if not isinstance(value, str):
                continue
            if may_be_number(shape):
                if path in untyped or (
                    path in substituted and expected_type(shape)
                ):  # in a flow map, ${VAR} has to be quoted
                    self._read_number(path, value)
            elif Secret in shape:
                self._set_secret(path, value)
            elif Path in shape:
                self._resolve_path(path, value)

    def __call__(self) -> dict[str, Any]:
        """Return the data of the whole configuration."""
        return self.document.data

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return one section, its key, and ``False``: the value needs no decoding."""
        return self.document.data.get(field_name), field_name, False

    def _read_number(self, path: tuple[str | int, ...], text: str) -> None:
        try:
            self.document.put(path, parse_scalar(text))
        except ValueError as error:
            self.document.problems.append(self.document.problem_at(path, str(error)))

    def _scrub_from_messages(self, secret: str) -> None:
        if len(secret) >= _MIN_SECRET_LENGTH:
            self.document.secrets.append(secret)

    def _set_secret(self, path: tuple[str | int, ...], text: str) -> None:
        if text.strip():
            self._scrub_from_messages(text.strip())
            self.document.put(path, Secret(text))

    def _resolve_path(self, path: tuple[str | int, ...], text: str) -> None:
        """Make a path absolute, and check that a secret file can be read."""
        if not text.strip() or "\0" in text:
            self.document.problems.append(self.document.problem_at(path, "must be the path of a file"))
            return
        absolute = self.document.file.absolute().parent / text
        self.document.put(path, absolute)
        if is_secret_file_key(str(path[-1])):
            try:
                self._scrub_from_messages(Secret(path=absolute).reveal())
            except SecretUnreadable as error:
                self.document.problems.append(self.document.problem_at(path, str(error)))
