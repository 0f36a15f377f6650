"""Draws the pictures of the status page for the documentation: ``python -m support.browser.pictures FOLDER``.

They show the scenario of an outage, whose time stands still: they change only if the page does, or the browser.
"""

import asyncio
import io
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Final

from PIL import Image, ImageChops
from playwright.async_api import Browser

from support.browser.addresses import PATHS, served
from support.browser.chromium import running_browser
from support.browser.page_watch import DESKTOP, PHONE, SCHEMES, PageWatch, at_noon

PICTURED: Final = ("overview", "canary", "run", "alerts", "incident", "silences", "public")
SIZES: Final = {"desktop": DESKTOP, "phone": PHONE}
_COLOURS = 200  # the page has few; antialiased text needs shades of them
_TOLERANCE = 48  # of 255


async def draw(browser: Browser, folder: Path, names: Sequence[str] = PICTURED) -> list[Path]:
    """Draw each page at each size in each colour scheme into ``folder``; return the files that have changed."""
    changed = []
    async with served() as address:
        for name, (size_name, size), scheme in product(names, SIZES.items(), SCHEMES):
            watch = PageWatch(browser)
            page = await watch.open(address + PATHS[name], **at_noon(size=size, scheme=scheme, reduced_motion=True))
            if await page.locator("html[data-live]").count():
                await page.get_by_text("live", exact=True).wait_for()
            path = folder / f"{name}-{size_name}-{scheme}.png"
            if _write(path, await page.screenshot()):
                changed.append(path)
            await watch.close()
            assert [] == watch.problems, f"{path.name}: {watch.problems}"
    return changed


def _write(path: Path, picture: bytes) -> bool:
    """Write a picture with few colours, unless the file looks the same; return whether it was written."""
    with Image.open(io.BytesIO(picture)) as image:
        drawn = image.convert("RGB")
    if path.exists():
        with Image.open(path) as old:
            if old.size == drawn.size and not _differ(old.convert("RGB"), drawn):
                return False
    path.parent.mkdir(parents=True, exist_ok=True)
    few = drawn.quantize(_COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    return True


def _differ(old: Image.Image, new: Image.Image) -> bool:
    """Return whether any pixel differs by more than a palette or the edge of a letter does."""
    difference = ImageChops.difference(old, new).convert("L")
    return difference.point([255 * (level > _TOLERANCE) for level in range(256)]).getbbox() is not None


async def _main(folder: Path) -> None:
    async with running_browser() as browser:
        for file in await draw(browser, folder):
            sys.stdout.write(f"drew {file}\n")


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
