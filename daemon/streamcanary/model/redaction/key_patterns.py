"""Finds what looks like a secret, whether it is a known one or not."""

import re
from typing import Final

MASK: Final = "[redacted]"

_KEY_LIKE = re.compile(
    r"\b(?:sk|pk|rk|gsk|whsec|xox[abp])[-_][A-Za-z0-9_\-+/=.]{8,}"
    r"|(?<=[Bb]earer )\S{8,}"
    r"|(?<=hooks\.slack\.com/services/)\S+"
)
# in URLs: ?api_key=..., &X-Amz-Signature=..., %26sig%3D..., and https://name:password@host
_SECRET_PARAMETER_NAMES = (
    "key",
    "keyid",
    "token",
    "secret",
    "password",
    "passwd",
    "pwd",
    "signature",
    "sig",
    "credential",
    "auth",
)
_AFTER_PARAMETER_NAME = "|".join(rf"(?<={name}=)|(?<={name}%3d)" for name in _SECRET_PARAMETER_NAMES)
_PARAMETER = re.compile(  # starts at the sign, which is rare, because matching the names at each character is slow
    rf"(?i:(=|%3d)(?:{_AFTER_PARAMETER_NAME}))[\"']?[^\s&;\"'<>,)}}]+"
)
_USER_INFO = re.compile(r"(?<=://)[^\s/?#@\"'<>]{1,512}(?=@)")


def mask_key_like(text: str) -> str:
    """Return ``text`` with a mask for everything that looks like a key, and for credentials in URLs."""
    if "=" in text or "%" in text:
        text = _PARAMETER.sub(rf"\1{MASK}", text)
    if "@" in text:
        text = _USER_INFO.sub(MASK, text)
    return _KEY_LIKE.sub(MASK, text)
