"""What the asynchronous and the synchronous stream have in common: all that is not waiting."""

import threading
from typing import Generic

import httpx2
from openai import OpenAIError

from streamcanary.client.core.attempt import ResponseHead
from streamcanary.client.core.call import Call, State
from streamcanary.client.core.request import Asked, shown_url
from streamcanary.client.core.routes import Routes, Sdk
from streamcanary.client.drivers.request_capture import Opening
from streamcanary.client.result import StreamResult
from streamcanary.events import Event


class BaseStream(Generic[Sdk]):
    """The answer to one call; how its bytes come is the business of the two kinds of it."""

    def __init__(self, routes: Routes[Sdk], asked: Asked) -> None:
        self._routes = routes
        self._asked = asked
        self._now = routes.options.clock.monotonic
        self._call: Call | None = None
        self._response: httpx2.Response | None = None
        self._handed_over: float | None = None
        self._reading = threading.Lock()

    @property
    def result(self) -> StreamResult:
        """The whole answer.

        Raises:
            StreamFailed: if the stream has failed.
            RuntimeError: before the end, or if the stream was left before it.
        """
        call = self._call
        if call is not None and call.failure is not None:
            raise call.failure
        if call is None or call.result is None:
            raise RuntimeError("the stream has no result yet: read it to its end, or call until_done()")
        return call.result

    def _start(self) -> Call:
        """Return the call, which begins now if it has not yet."""
        if self._call is None:
            self._call = self._routes.begin(self._asked)
        return self._call

    def _ended(self, call: Call) -> bool:
        """Tell whether no event is left to come.

        Raises:
            StreamFailed: if the stream has failed.
        """
        if call.failure is not None:
            raise call.failure
        return call.state is State.ENDED

    def _claim(self, call: Call) -> None:
        """Become the one who reads on; the time since the last event was handed over was the caller's own.

        Raises:
            RuntimeError: if somebody is reading already.
        """
        if not self._reading.acquire(blocking=False):
            raise RuntimeError("the stream is already being read by another task or thread")
        if self._handed_over is not None:
            call.paused(self._now() - self._handed_over)
            self._handed_over = None

    def _hand_over(self, call: Call) -> Event:
        event = call.events.popleft()
        if not call.events:
            self._handed_over = self._now()
        return event

    def _opened(self, call: Call, opening: Opening, response: httpx2.Response) -> None:
        """Report that the headers have come."""
        call.sent(opening.credentials)
        url = shown_url(response.request.url)
        call.headers(ResponseHead(response.status_code, response.headers, url, bool(response.history)))

    def _failed_to_open(self, call: Call, opening: Opening, error: Exception | None = None) -> None:
        """Report that no answer came: because of ``error``, or because a clock of ours struck."""
        call.sent(opening.credentials, opening.url)
        if error is None:
            call.struck(opening.head)
        elif (
            not opening.url and self._routes.asks_for_keys(call.leg) and not isinstance(error, (TypeError, OpenAIError))
        ):
            call.unkeyed(error)  # whoever gives out keys has failed; the endpoint was never asked
        else:
            call.broke(error)
