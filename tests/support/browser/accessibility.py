"""Checks of a page that need its layout: axe-core, and whether it fits its width."""

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page

_GRAVE = ("serious", "critical")


async def grave_violations(page: Page) -> list[str]:
    """Return what axe-core finds on ``page`` that is serious or critical: rule, element and reason."""
    results = await Axe().run(page)
    assert results.response["passes"], "axe-core has checked nothing"
    return [
        f"{violation['id']}: {node['html'][:160]}: {node['failureSummary']}"
        for violation in results.response["violations"]
        if violation["impact"] in _GRAVE
        for node in violation["nodes"]
    ]


async def overflowing(page: Page) -> list[str]:
    """Return the elements that make ``page`` wider than its window."""
    found: list[str] = await page.evaluate(
        """() => {
            const width = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= width) return [];
            return [...document.body.querySelectorAll("*")]
                .filter(one => one.getBoundingClientRect().right > width + 1)
                .map(one => one.outerHTML.slice(0, 120));
        }"""
    )
    return found
