"""Collects the images and the audio of an answer of Chat Completions. Text is in ``answer``."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any, Final

from streamcanary.client.core.decoding.surrogates import replace_halves
from streamcanary.client.result import AudioOutput

_MAX_ID_LENGTH: Final = 256
_MAX_TIME: Final = 2**53


class PartialAudio:
    """Audio in pieces, as ``delta.audio`` of OpenAI has them: base64 data, and the transcript."""

    __slots__ = ("_data", "_expires_at", "_id", "_transcript")

    def __init__(self) -> None:
        self._id = ""
        self._expires_at: int | None = None
        self._data: list[str] = []
        self._transcript: list[str] = []

    def add(self, audio: dict[str, Any]) -> None:
        """Add the fields of a chunk; those of a wrong type are ignored."""
        match audio.get("id"):
            case str(audio_id) if not self._id:
                self._id = replace_halves(audio_id[:_MAX_ID_LENGTH])
        match audio.get("expires_at"):
            case int(time) if not isinstance(time, bool) and 0 <= time <= _MAX_TIME:
                self._expires_at = time
        if data := text_field(audio, "data"):
            self._data.append(data)
        if transcript := text_field(audio, "transcript"):
            self._transcript.append(transcript)

    def complete(self) -> AudioOutput:
        """Return what has arrived."""
        return AudioOutput(
            id=self._id,
            data=replace_halves(_join_base64(self._data)),
            transcript=replace_halves("".join(self._transcript)),
            expires_at=self._expires_at,
        )


def text_field(holder: dict[str, Any], name: str) -> str:
    """Return the text in a field of JSON, ``""`` if there is none."""
    value = holder.get(name)
    return value if isinstance(value, str) else ""


def image_url(image: object) -> str:
    """Return the URL of an image, ``""`` if there is none: ``{"image_url": {"url": …}}``, or the URL alone."""
    url = image.get("image_url") if isinstance(image, dict) else None
    return text_field(url, "url") if isinstance(url, dict) else url if isinstance(url, str) else ""


def _join_base64(pieces: Sequence[str]) -> str:
    """Return the data of all pieces as base64; each piece can have padding of its own."""
    joined = "".join(pieces)
    if "=" not in joined.rstrip("="):
        return joined
    try:
        return base64.b64encode(b"".join(base64.b64decode(piece) for piece in pieces)).decode()
    except (binascii.Error, ValueError):
        return joined
