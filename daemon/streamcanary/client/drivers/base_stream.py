"""The base class of the asynchronous and the synchronous stream: everything except waiting."""

import threading
from typing import Generic

import httpx2
from openai import OpenAIError

from streamcanary.client.core.call import ENDED, Call
from streamcanary.client.core.deadline_extension import LagSince, no_lag
from streamcanary.client.core.request import PreparedCall
from streamcanary.client.core.routes import Routes, SdkClient
from streamcanary.client.drivers.request_capture import RequestCapture
from streamcanary.client.result import StreamResult

MAX_DRAIN_BYTES = 64 << 10
"""Bytes that are read after a complete answer, so that its connection can be reused; after more, it is closed."""
MAX_DRAIN_PIECES = 64
"""Pieces that are read then, such as chunks; usually there are one or two."""


class BaseStream(Generic[SdkClient]):
    """The answer to one call; subclasses do the I/O."""

    def __init__(self, routes: Routes[SdkClient], prepared: PreparedCall) -> None:
        self._routes = routes
        self._prepared = prepared
        self._now = routes.options.clock.monotonic
        self._call: Call | None = None
        self._response: httpx2.Response | None = None
        self._caller_since: float | None = None
        self._read_lock = threading.Lock()

    @property
    def result(self) -> StreamResult:
        """The complete answer.

        Raises:
            StreamFailed: if the call has failed.
            RuntimeError: if the stream has not been read to its end.
        """
        call = self._call
        if call is not None and call.failure is not None:
            raise call.failure
        if call is None or call.result is None:
            raise RuntimeError("the stream has no result yet: read it to its end, or call until_done()")
        return call.result

    def _start(self) -> Call:
        """Return the call; start it if it has not started."""
        if self._call is None:
            self._call = self._routes.start_call(self._prepared)
        return self._call

    def _begin_read(self, call: Call) -> bool:
        """Acquire the read lock, and exclude the caller's time since the last event from the timeouts.

        Return ``False``, without the lock, if the call has ended successfully or was cancelled.

        Raises:
            StreamFailed: if the call has failed.
            RuntimeError: if another task or thread is reading.
        """
        if call.state is ENDED:
            if call.failure is not None:
                raise call.failure
            return False
        if not self._read_lock.acquire(False):  # noqa: FBT003 - a keyword would double its time
            raise RuntimeError("the stream is already being read by another task or thread")
        if self._caller_since is not None:
            call.exclude_pause(self._now() - self._caller_since)
            self._caller_since = None
        return True

    def _headers_received(self, call: Call, capture: RequestCapture, response: httpx2.Response) -> None:
        """Report to the call that the headers have arrived."""
        call.request_sent(capture.credentials, sent_at=capture.guard.sent_at or self._now())
        call.headers_received(capture.head(response))

    def _request_failed(
        self, call: Call, capture: RequestCapture, error: Exception | None = None, lag_since: LagSince = no_lag
    ) -> None:
        """Report an error response, or that none arrived: because of ``error``, or because the deadline has passed."""
        call.request_sent(capture.credentials, capture.url, sent_at=capture.guard.sent_at)
        if (head := capture.error_head) is not None:
            call.headers_received(head)
        elif capture.guard.excess:
            call.response_refused(capture.guard.excess)
        elif error is None:
            # A key provider is a part of what a canary checks; everything else before the request is of this process.
            is_held_back = not capture.url and not self._routes.has_key_provider(call.route)
            call.deadline_exceeded(lag_since, is_held_back=is_held_back)
        elif (
            not capture.url
            and self._routes.has_key_provider(call.route)
            and not isinstance(error, (TypeError, OpenAIError))
        ):
            call.key_missing(error)  # the key provider failed, and no request was sent
        else:
            call.connection_lost(error, lag_since)
