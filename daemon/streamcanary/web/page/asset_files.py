"""The stylesheet, the script and the icons, under names that contain a hash of their content."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import Final

from msgspec import Struct

_TYPES: Final = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}


class Asset(Struct, frozen=True):
    """A file: its name with the hash, its media type, and its content."""

    hashed_name: str
    media_type: str
    content: bytes


@cache
def assets() -> dict[str, Asset]:
    """Return the files by plain name; read once."""
    found = {}
    for file in sorted(files(__package__).joinpath("assets").iterdir(), key=lambda one: one.name):
        stem, _, suffix = file.name.rpartition(".")
        if suffix in _TYPES:
            content = file.read_bytes()
            hashed = f"{stem}.{hashlib.sha256(content).hexdigest()[:12]}.{suffix}"
            found[file.name] = Asset(hashed, _TYPES[suffix], content)
    return found


@cache
def assets_by_hashed_name() -> dict[str, Asset]:
    """Return the files by the name in their address."""
    return {asset.hashed_name: asset for asset in assets().values()}


def asset_href(name: str) -> str:
    """Return the address of a file."""
    return f"/assets/{assets()[name].hashed_name}"
