"""The source that fills a settings model: the file, the variables in it, then the overrides."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from streamcanary.model.config_types.secret import Secret, SecretUnreadable, holds_secret
from streamcanary.settings_sources.document import Document, read_document, scalar
from streamcanary.settings_sources.interpolation import interpolate
from streamcanary.settings_sources.overrides import clashes, override
from streamcanary.settings_sources.shape import Shape, leaves, reads_numbers
from streamcanary.settings_sources.type_check import wanted

_SECRET_NAME = re.compile(r"key|token|secret|passw|credential", re.IGNORECASE)
_SHORTEST = 6  # characters of a secret that is kept out of messages; a key such as "none" is a word, and no secret


class FileAndEnvironment(PydanticBaseSettingsSource):
    """Reads everything when made; what was wrong so far stands in ``document.problems``.

    In the data that pydantic sees, secrets are :class:`~streamcanary.model.config_types.secret.Secret` values already, and paths are
    absolute: relative ones start at the folder of the file.

    Raises:
        ConfigInvalid: if there is nothing to go on with: no file, no YAML, no map.
    """

    def __init__(self, settings: type[BaseSettings], file: Path, environ: Mapping[str, str]) -> None:
        super().__init__(settings)
        self.shape: Shape = (settings,)
        self.document: Document = read_document(file)
        for name, value in environ.items():
            if _SECRET_NAME.search(name):
                self._hide(value)
        filled = interpolate(self.document, environ)
        override(self.document, self.shape, environ)
        self.document.problems.extend(clashes(self.document, self.shape))
        untyped = (filled & self.document.plain) | self.document.variables.keys()
        for path, shape, value in [*leaves(self.shape, self.document.data)]:
            if not isinstance(value, str):
                continue
            if reads_numbers(shape):
                if path in untyped or (path in filled and wanted(shape)):  # braces may need quotes
                    self._read_number(path, value)
            elif Secret in shape:
                self._seal(path, value)
            elif Path in shape:
                self._anchor(path, value)

    def __call__(self) -> dict[str, Any]:
        """Return the data of the whole configuration."""
        return self.document.data

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return one section, its key, and that it needs no decoding."""
        return self.document.data.get(field_name), field_name, False

    def _read_number(self, path: tuple[str | int, ...], text: str) -> None:
        try:
            self.document.put(path, scalar(text))
        except ValueError as error:
            self.document.problems.append(self.document.problem(path, str(error)))

    def _hide(self, secret: str) -> None:
        if len(secret) >= _SHORTEST:
            self.document.secrets.append(secret)

    def _seal(self, path: tuple[str | int, ...], text: str) -> None:
        if text.strip():
            self._hide(text.strip())
            self.document.put(path, Secret(text))

    def _anchor(self, path: tuple[str | int, ...], text: str) -> None:
        """Make a path absolute, and see that the file of a secret can be read."""
        if not text.strip() or "\0" in text:
            self.document.problems.append(self.document.problem(path, "must be the path of a file"))
            return
        absolute = self.document.file.absolute().parent / text
        self.document.put(path, absolute)
        if holds_secret(str(path[-1])):
            try:
                self._hide(Secret(path=absolute).reveal())
            except SecretUnreadable as error:
                self.document.problems.append(self.document.problem(path, str(error)))
