"""Loads the configuration for a verb and prints its errors."""

import sys
from pathlib import Path

from streamcanary.settings import ConfigInvalid, Settings, load, render


class UsageError(Exception):
    """The arguments or the configuration are invalid. An empty text means that the errors are already printed."""


def load_config(path: Path) -> Settings:
    """Return the configuration at ``path``; if it is invalid, print every error to stderr.

    Raises:
        UsageError: if it is invalid.
    """
    try:
        return load(path)
    except ConfigInvalid as invalid:
        print(render(invalid.problems), file=sys.stderr)
        raise UsageError from None
