"""What a browser transfers before it shows the page."""

import pytest

from support.browser.addresses import PATHS, Serve
from support.browser.page_watch import PageWatch
from support.status.alerts import alarmed
from support.status.canaries import thousand

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.real("chromium")]

_MOST = 100_000  # bytes


@pytest.mark.parametrize("query", ["", "?group=label%3Ateam", "?group=model", "?open=target-03", "?q=chat"])
async def test_the_overview_of_a_thousand_canaries_is_small(query: str, serve: Serve, watch: PageWatch) -> None:
    """The first paint carries at most 100 kB, with stylesheet, script and headers, however it is grouped."""
    address = await serve(thousand(), alarmed(), ())
    assert _MOST >= await _transferred(f"{address}/{query}", watch)


@pytest.mark.parametrize("name", PATHS)
async def test_every_page_is_small(name: str, serve: Serve, watch: PageWatch) -> None:
    """No page carries more than the overview may."""
    assert _MOST >= await _transferred(await serve() + PATHS[name], watch)


async def _transferred(address: str, watch: PageWatch) -> int:
    """Return the bytes that a browser with an empty cache receives for ``address``, as they are transferred."""
    page = await watch.open(address)
    assert {"document", "stylesheet"} <= {request.resource_type for request in watch.finished}
    sizes = [await request.sizes() for request in watch.finished]
    await page.close()
    return sum(size["responseBodySize"] + size["responseHeadersSize"] for size in sizes)
