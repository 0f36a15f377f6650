"""Opens pages in a real browser and records everything that goes wrong on them."""

from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response

from support.status.canaries import NOON

Size = tuple[int, int]
DESKTOP: Final[Size] = (1280, 900)
PHONE: Final[Size] = (390, 844)
SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")

_REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", violation => console.error(
    `violates ${violation.violatedDirective}: ${violation.blockedURI} ${violation.sample}`));
"""
_FAILED_LOAD = "Failed to load resource"  # what the console says of a response or a request, which are checked below


class PageWatch:
    """Opens pages, each in a context of its own, and collects in :attr:`problems` what goes wrong.

    :attr:`finished` are the requests that were answered. If :attr:`server_may_be_lost`, requests may fail.

    A problem is an error or a warning on the console, an uncaught exception, a violation of the
    Content-Security-Policy, a failed request, a response with an error status, and a request to another host.
    """

    def __init__(self, browser: Browser) -> None:
        self.problems: list[str] = []
        self.server_may_be_lost = False
        self.finished: list[Request] = []
        self._browser = browser
        self._contexts: list[BrowserContext] = []

    async def open(
        self,
        address: str,
        *,
        size: Size = DESKTOP,
        scheme: Literal["light", "dark"] = "light",
        javascript: bool = True,
        reduced_motion: bool = False,
        stopped_at: float | None = None,
        statuses: tuple[int, ...] = (),
        **options: Any,
    ) -> Page:
        """Open ``address`` in a new context; with ``stopped_at``, the clock of the page stands still there.

        ``statuses`` are error statuses that documents may have.
        """
        context = await self._browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            is_mobile=size[0] < 600,
            has_touch=size[0] < 600,
            color_scheme=scheme,
            java_script_enabled=javascript,
            reduced_motion="reduce" if reduced_motion else "no-preference",
            timezone_id="UTC",
            locale="en-GB",
            service_workers="block",
            **options,
        )
        self._contexts.append(context)
        context.set_default_timeout(15_000)
        await context.add_init_script(_REPORT_VIOLATIONS)
        page = await context.new_page()
        self._watch(page, urlsplit(address).netloc, statuses)
        if stopped_at is not None:
            await page.clock.set_fixed_time(stopped_at * 1000)
        await page.goto(address)
        return page

    async def close(self, folder: Path | None = None) -> None:
        """Close all pages; with ``folder``, keep a picture of each there."""
        for number, context in enumerate(self._contexts):
            if folder is not None:
                for page in context.pages:
                    await page.screenshot(path=folder / f"page-{number}.png", full_page=True)
            await context.close()
        self._contexts.clear()

    def _watch(self, page: Page, host: str, statuses: tuple[int, ...]) -> None:
        def note(problem: str) -> None:
            self.problems.append(f"{urlsplit(page.url).path}: {problem}")

        def on_console(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning") and not message.text.startswith(_FAILED_LOAD):
                note(f"console {message.type}: {message.text}")

        def on_request(request: Request) -> None:
            place = urlsplit(request.url)
            if place.scheme != "data" and place.netloc != host:
                note(f"request to another host: {request.url}")

        def on_failure(request: Request) -> None:
            is_left = request.failure == "net::ERR_ABORTED"  # the browser has gone to another page meanwhile
            if not is_left and not self.server_may_be_lost:
                note(f"request failed: {request.method} {request.url}: {request.failure}")

        def on_finished(request: Request) -> None:  # Playwright needs a function of Python
            self.finished.append(request)

        def on_response(response: Response) -> None:
            is_document = response.request.resource_type == "document"
            if response.status >= 400 and not (is_document and response.status in statuses):
                note(f"HTTP {response.status}: {response.url}")

        page.on("console", on_console)
        page.on("pageerror", lambda error: note(f"exception: {error}"))
        page.on("request", on_request)
        page.on("requestfailed", on_failure)
        page.on("requestfinished", on_finished)
        page.on("response", on_response)


def at_noon(**options: Any) -> dict[str, Any]:
    """Return options of :meth:`PageWatch.open` for a page of a scenario, whose time is :data:`NOON`."""
    return {"stopped_at": NOON, **options}
