"""Configurations and fake components for tests of reloads."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from streamcanary.reload.reloader import Reloader, ReloadSource
from streamcanary.settings import Settings, load
from support.clock import ManualClock

TARGET = {"base_url": "http://127.0.0.1:9/v1", "api_key": "sk-planted-secret"}
CHAT = {"target": "t", "model": "m"}


def make_config(**sections: Any) -> dict[str, Any]:
    """Build a configuration with one canary, ``chat``; ``sections`` override its sections."""
    return {"targets": {"t": TARGET}, "canaries": {"chat": CHAT}, **sections}


def write_config(file: Path, config: dict[str, Any] | str) -> Path:
    """Write a configuration, as data or as text, and return its path."""
    file.write_text(config if isinstance(config, str) else json.dumps(config))
    return file


def load_config(folder: Path, **sections: Any) -> Settings:
    """Load a configuration of :func:`make_config`."""
    return load(write_config(folder / "c.yaml", make_config(**sections)), {})


class RecordingParts:
    """Components that record the settings that were prepared and applied; ``prepare`` calls ``on_prepare``."""

    def __init__(self) -> None:
        self.prepared: list[Settings] = []
        self.applied: list[Settings] = []
        self.on_prepare: Callable[[], None] = lambda: None

    def prepare(self, settings: Settings) -> None:
        """Record ``settings``."""
        self.on_prepare()
        self.prepared.append(settings)

    def apply(self) -> None:
        """Record that the prepared settings are applied."""
        self.applied.append(self.prepared[-1])


class ReloadHarness:
    """``async with ReloadHarness(folder) as harness``: a reloader of a file, with components that record."""

    def __init__(self, folder: Path, *, interval: float = 0.0, **sections: Any) -> None:
        self.file = write_config(folder / "c.yaml", make_config(**sections))
        self.parts = RecordingParts()
        self.clock = ManualClock()
        self.reports: list[str | None] = []
        self.requested = asyncio.Event()
        self.settings = load(self.file)
        self.reloader = Reloader(
            ReloadSource(file=self.file, interval=interval, requested=self.requested),
            self.settings,
            self.parts,
            clock=self.clock,
            on_result=self.reports.append,
        )

    async def __aenter__(self) -> Self:
        await self.reloader.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.reloader.__aexit__(*exc)

    def write(self, **sections: Any) -> None:
        """Replace the file."""
        write_config(self.file, make_config(**sections))
