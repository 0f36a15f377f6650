"""The provider behind the socket: who may ask, for what, and which behaviour answers."""

import hmac
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from streamcanary.model.clock import Clock
from streamcanary.simulator.api.base import Dialect
from streamcanary.simulator.api.chat import Chat
from streamcanary.simulator.api.error_bodies import invalid_request
from streamcanary.simulator.api.responses import Responses
from streamcanary.simulator.faults.before_stream import HTML, LOGIN_PAGE, LOGIN_PATH
from streamcanary.simulator.faults.fault_spec import FAULTS, PREFIX, Choice, Chooser, UnknownFault
from streamcanary.simulator.http.http1 import Head
from streamcanary.simulator.http.response_writer import Reply
from streamcanary.simulator.recorded_response import Sent
from streamcanary.simulator.request_log import Request, remember
from streamcanary.simulator.timeline import Phase, Timeline

MODELS_PATH: Final = "/v1/models"
REQUESTS_PATH: Final = "/_requests"
_KEPT = 1000  # requests that are remembered; the oldest go first
_CREATED = 1_700_000_000  # when the models were made, seconds since the epoch; any time will do


class Reader(Protocol):
    """Reads a request, and gives the good answer to it."""

    def __call__(self, body: bytes, *, token: str, now: float) -> Dialect:
        """Return the answer; ``token`` makes its id, ``now`` is wall time in seconds since the epoch.

        Raises:
            ValueError: if it is not a request that can be answered.
        """
        ...


DIALECTS: Final[Mapping[str, Reader]] = {"/v1/chat/completions": Chat.read, "/v1/responses": Responses.read}
"""The APIs by path."""


class Api:
    """Answers requests, and remembers them."""

    def __init__(
        self,
        clock: Clock,
        *,
        timeline: Timeline | None = None,
        api_key: str | None = None,
        on_request: Callable[[Request], None] | None = None,
    ) -> None:
        self.requests: deque[Request] = deque(maxlen=_KEPT)
        self.sent: deque[Sent] = deque(maxlen=_KEPT)
        self._clock = clock
        self._timeline = timeline
        self._key = None if api_key is None else f"Bearer {api_key}".encode()
        self._on_request = on_request
        self._chooser = Chooser()
        self._started = clock.monotonic()

    def restart_timeline(self) -> None:
        """Begin the timeline anew, now."""
        self._started = self._clock.monotonic()
        self._chooser = Chooser()

    @property
    def phase(self) -> Phase | None:
        """The phase of the timeline that is on; ``None`` without a timeline."""
        if self._timeline is None:
            return None
        return self._timeline.phase(self._clock.monotonic() - self._started)

    async def answer(self, head: Head, body: bytes, reply: Reply) -> None:
        """Answer one request on ``reply``.

        Raises:
            ConnectionError: if the other side has gone.
        """
        if head.method == "HEAD":  # its answer has no body, whatever it says
            self._remember(head, body, reply)
            await reply.whole(405)
        elif (head.method, head.path) == ("GET", REQUESTS_PATH):
            await reply.whole(200, msgspec.json.encode({"requests": list(self.requests)}))
        elif head.path in DIALECTS and head.method == "POST" and self._admits(head):
            await self._play(DIALECTS[head.path], head, body, reply)
        else:
            self._remember(head, body, reply)
            await reply.whole(*self._look_up(head))

    def _admits(self, head: Head) -> bool:
        """Tell whether the request has the right key; compared in constant time, as a habit."""
        given = head.headers.get("authorization", "").encode("latin-1")
        return self._key is None or hmac.compare_digest(given, self._key)

    async def _play(self, read: Reader, head: Head, body: bytes, reply: Reply) -> None:
        try:
            dialect = read(body, token=reply.request_id[4:], now=reply.now)
        except ValueError as invalid:
            self._remember(head, body, reply)
            await reply.whole(400, invalid_request(f"The request is not valid: {invalid}"))
            return
        model, stream = dialect.model, dialect.streamed
        try:
            fault = self._choose(model)
        except UnknownFault as unknown:
            self._remember(head, body, reply, model=model, stream=stream)
            message = f"The model `{model[:200]}` does not exist: {unknown}"
            await reply.whole(404, invalid_request(message, "model_not_found", "model"))
            return
        self._remember(head, body, reply, model=model, stream=stream, fault=fault)
        await FAULTS[fault].act(reply, dialect)

    def _choose(self, model: str) -> str:
        """Return the fault to play for a request of ``model``.

        Raises:
            UnknownFault: if the model does not exist.
        """
        phase = self.phase
        if phase is not None and self._timeline is not None and model == self._timeline.model:
            return self._chooser.next(f"{model} at {phase.at}", Choice.parse(phase.fault))
        return self._chooser.next(model, _parse_model(model))

    def _look_up(self, head: Head) -> tuple[int, bytes, str]:
        """Return status, body and content type of what is not a completion."""
        json = "application/json"
        if head.path == LOGIN_PATH:
            return 200, LOGIN_PAGE, HTML
        if head.path.startswith("/v1/") and not self._admits(head):
            if "authorization" in head.headers:
                return 401, invalid_request("Incorrect API key provided.", "invalid_api_key"), json
            return 401, invalid_request("You didn't provide an API key. Send one as Authorization: Bearer KEY."), json
        if head.path in DIALECTS:
            message = f"Not allowed to {head.method[:32]} on {head.path}; POST to it."
            return 405, invalid_request(message, "method_not_supported"), json
        if (head.method, head.path) == ("GET", MODELS_PATH):
            return 200, msgspec.json.encode({"object": "list", "data": self._models()}), json
        if head.method == "GET" and head.path.startswith(f"{MODELS_PATH}/"):
            return *self._model(head.path.removeprefix(f"{MODELS_PATH}/")), json
        return 404, invalid_request(f"Invalid URL ({head.method[:32]} {head.path[:200]})"), json

    def _models(self) -> list[dict[str, Any]]:
        names = [PREFIX + name for name in FAULTS]
        return [_describe(name) for name in ([self._timeline.model] if self._timeline else []) + names]

    def _model(self, name: str) -> tuple[int, bytes]:
        if self._timeline is None or name != self._timeline.model:
            try:
                _parse_model(name)
            except UnknownFault as unknown:
                message = f"The model '{name[:200]}' does not exist: {unknown}"
                return 404, invalid_request(message, "model_not_found", "model")
        return 200, msgspec.json.encode(_describe(name))

    def _remember(self, head: Head, body: bytes, reply: Reply, **asked: Any) -> None:
        elapsed = self._clock.monotonic() - self._started
        request = remember(reply.request_id, head, body, at=reply.now, elapsed=elapsed, **asked)
        self.requests.append(request)
        self.sent.append(reply.sent)
        if self._on_request is not None:
            self._on_request(request)


def _parse_model(name: str) -> Choice:
    if not name.startswith(PREFIX):
        raise UnknownFault(f"the simulator's models are called {PREFIX}ok, {PREFIX}cut, {PREFIX}500@2 and so on")
    if name == "sim-timeline":
        raise UnknownFault("no timeline of that name is loaded")
    return Choice.parse(name.removeprefix(PREFIX))


def _describe(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "streamcanary"}
