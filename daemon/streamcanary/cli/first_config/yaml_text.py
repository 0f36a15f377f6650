"""Writes text as a YAML scalar."""

import json
import re
from typing import Final

# Letters first, so that no number or date looks like it; no `: ` and no ` #`; and no word with a meaning of its own.
_PLAIN: Final = re.compile(
    r"(?!(?:true|false|null|yes|no|on|off|y|n)$)[A-Za-z](?:[A-Za-z0-9_./:-]*[A-Za-z0-9_/-])?", re.IGNORECASE
)


def yaml_text(text: str) -> str:
    """Return printable ``text`` as a YAML scalar that is read as this text, without substitution of variables."""
    text = text.replace("$", "$$")
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
