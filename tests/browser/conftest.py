"""One browser for all tests of this folder. A test fails if anything goes wrong on a page that it opened."""

from collections.abc import AsyncIterator, Generator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from support.browser.addresses import Serve, served
from support.browser.chromium import running_browser
from support.browser.page_watch import PageWatch

_FAILED = pytest.StashKey[bool]()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Return the running browser."""
    async with running_browser() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def serve() -> AsyncIterator[Serve]:
    """Return a function that serves a scenario until the end of the test, see :func:`served`."""
    async with AsyncExitStack() as servers:
        yield lambda *arguments, **options: servers.enter_async_context(served(*arguments, **options))


@pytest_asyncio.fixture(loop_scope="session")
async def watch(
    browser: Browser, serve: object, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[PageWatch]:
    """Open pages; at the end there must be no problem on any. Of a failed test, pictures are in ``tmp_path``."""
    watching = PageWatch(browser)
    yield watching
    await watching.close(tmp_path if request.node.stash.get(_FAILED, False) or watching.problems else None)
    assert [] == watching.problems


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note whether the test failed."""
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report
