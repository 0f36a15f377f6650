"""Starts Chromium for tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

from support.programs.required_tools import require_tool


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """Start the Chromium of ``tools/fetch.py`` without a window; the test is skipped where there is none."""
    program = require_tool("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program,
            args=["--disable-gpu", "--font-render-hinting=none", "--force-color-profile=srgb"],
        )
        try:
            yield browser
        finally:
            await browser.close()
