"""An extension for mkdocstrings: Sphinx roles in docstrings, which Markdown does not know, become code."""

import re
from typing import Any

from griffe import Extension, Object

_ROLE = re.compile(r":(?:class|meth|func|data|mod|attr|exc):`~?(?:[\w.]*\.)?(\w+)`")


class Roles(Extension):
    """Replaces ``:class:`~package.module.Name``` by ``Name``."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of each object as it is loaded."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(r"`\1`", obj.docstring.value)
