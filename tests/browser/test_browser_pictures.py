"""The pictures of the status page in the documentation."""

from itertools import product
from pathlib import Path

import pytest
from PIL import Image
from playwright.async_api import Browser

from support.browser.page_watch import SCHEMES
from support.browser.pictures import PICTURED, SIZES, draw

_STORED = Path(__file__).parents[2] / "docs" / "images" / "status-page"
_MOST = 2_000_000  # bytes of all pictures


def test_the_stored_pictures_are_complete_and_small() -> None:
    """Each page is there at each size in each colour scheme, and nothing else; ``make pictures-page`` draws them."""
    names = {f"{name}-{size}-{scheme}.png": SIZES[size] for name, size, scheme in product(PICTURED, SIZES, SCHEMES)}
    stored = {path.name: path for path in _STORED.iterdir()}
    assert names.keys() == stored.keys()
    for name, size in names.items():
        with Image.open(stored[name]) as picture:
            assert size == picture.size
    assert _MOST >= sum(path.stat().st_size for path in stored.values())


@pytest.mark.real("chromium")
@pytest.mark.asyncio(loop_scope="session")
async def test_pictures_change_only_with_the_page(browser: Browser, tmp_path: Path) -> None:
    """Pictures that are drawn twice have the same pixels, and are not written again."""
    first = await draw(browser, tmp_path, names=("run",))
    assert len(SIZES) * len(SCHEMES) == len(first)
    assert [] == await draw(browser, tmp_path, names=("run",))
