"""A delivery by a library that blocks."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Sequence

from streamcanary.alerting.notify.receivers.delivery_result import Accepted, Answer, Retry
from streamcanary.alerting.notify.text import clip

_log = logging.getLogger(__name__)


class Errand:
    """Delivers in a thread, at most one at a time; a thread that waits for something ends with the process at last."""

    def __init__(self) -> None:
        self._free = threading.Lock()
        self._page = ""
        self._taken: set[str] = set()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Errand)  # of two receivers that are configured alike, neither is another

    def __hash__(self) -> int:
        return hash(Errand)

    async def run(
        self,
        page: str,
        urls: Sequence[str],
        deliver: Callable[[str], str | None],
        timeout: float,  # noqa: ASYNC109 - an answer comes of it, not an exception
    ) -> Answer:
        """Have ``deliver`` called with each of ``urls`` that has not taken ``page`` yet; it says what went wrong."""
        if not self._free.acquire(blocking=False):
            return Retry(reason="the delivery before is still under way")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[str]] = loop.create_future()

        def work() -> None:
            failures: list[str] = []
            try:
                failures = self._go(page, urls, deliver)
            except Exception as error:  # noqa: BLE001 - a defect of ours ends in the log, and as an answer
                _log.exception("a delivery in a thread could not be made")
                failures = [f"internal error: {type(error).__name__}"]
            finally:
                self._free.release()
                with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
                    loop.call_soon_threadsafe(lambda: None if done.done() else done.set_result(failures))

        try:
            threading.Thread(target=work, name="apprise", daemon=True).start()
        except RuntimeError as error:
            self._free.release()
            return Retry(reason=f"cannot be sent: {error}", definite=True)
        try:
            async with asyncio.timeout(timeout):
                failures = await done
        except TimeoutError:
            return Retry(reason=f"no answer within {timeout:g} s")
        return Retry(reason=clip("; ".join(failures), 300)) if failures else Accepted()

    def _go(self, page: str, urls: Sequence[str], deliver: Callable[[str], str | None]) -> list[str]:
        if page != self._page:
            self._page, self._taken = page, set()
        failures = []
        for url in urls:
            if url in self._taken:
                continue
            failure = deliver(url)
            if failure is None:
                self._taken.add(url)
            else:
                failures.append(failure)
        return failures
