"""Deliveries through a blocking library, in a thread."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Sequence

from streamcanary.alerting.notify.delivery.result import Accepted, DeliveryResult, Retry
from streamcanary.alerting.notify.delivery.send_permission import Permission, SendForbidden, current_permission
from streamcanary.alerting.notify.text_format import truncate

_log = logging.getLogger(__name__)


class BlockingCall:
    """Delivers in a daemon thread, at most one at a time; a thread that hangs does not delay the end of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notification_id = ""
        self._accepted_urls: set[str] = set()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BlockingCall)  # receivers with equal settings are equal

    def __hash__(self) -> int:
        return hash(BlockingCall)

    async def run(
        self,
        notification_id: str,
        urls: Sequence[str],
        deliver: Callable[[str], str | None],
        timeout: float,  # noqa: ASYNC109 - a timeout is returned as a result, not raised
    ) -> DeliveryResult:
        """Call ``deliver`` in a thread with each of ``urls`` that has not accepted the notification yet.

        ``deliver`` returns an error, or ``None`` if the URL accepted it. Waits at most ``timeout`` seconds.
        """
        if not self._lock.acquire(blocking=False):
            return Retry(reason="the previous delivery is still running")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[str]] = loop.create_future()
        permission = current_permission()

        def work() -> None:
            failures: list[str] = []
            try:
                failures = self._deliver_to_each(notification_id, urls, deliver, permission)
            except Exception as error:  # noqa: BLE001 - an internal error is logged and returned as a result
                _log.exception("delivery thread failed", extra={"notification": notification_id})
                failures = [f"internal error: {type(error).__name__}"]
            finally:
                self._lock.release()
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(lambda: None if done.done() else done.set_result(failures))

        try:
            threading.Thread(target=work, name="apprise", daemon=True).start()
        except RuntimeError as error:
            self._lock.release()
            return Retry(reason=f"cannot be sent: {error}", is_definitely_undelivered=True)
        try:
            async with asyncio.timeout(timeout):
                failures = await done
        except TimeoutError:
            return Retry(reason=f"no answer within {timeout:g} s")
        return Retry(reason=truncate("; ".join(failures), 300)) if failures else Accepted()

    def _deliver_to_each(
        self,
        notification_id: str,
        urls: Sequence[str],
        deliver: Callable[[str], str | None],
        permission: Permission,
    ) -> list[str]:
        if notification_id != self._notification_id:
            self._notification_id, self._accepted_urls = notification_id, set()
        failures = []
        for url in urls:
            if url in self._accepted_urls:
                continue
            failure = deliver(url) if permission() else str(SendForbidden())
            if failure is None:
                self._accepted_urls.add(url)
            else:
                failures.append(failure)
        return failures
