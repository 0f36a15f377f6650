"""Reading the configuration for a verb, and saying what is wrong with it."""

import sys
from pathlib import Path

from streamcanary.settings import ConfigInvalid, Settings, load, render


class UsageError(Exception):
    """The configuration is bad, and the user has been told."""


def load_config(path: Path) -> Settings:
    """Return the configuration at ``path``; if it is bad, print every problem to stderr.

    Raises:
        Unusable: if it is bad.
    """
    try:
        return load(path)
    except ConfigInvalid as invalid:
        print(render(invalid.problems), file=sys.stderr)
        raise UsageError from None
