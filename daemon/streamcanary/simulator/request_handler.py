"""Handles requests: authorizes them, selects the fault to play, and records them."""

import hmac
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from streamcanary.model.clock import Clock
from streamcanary.simulator.api.azure import (
    AzureChatResponse,
    AzurePath,
    access_denied_body,
    deployment_not_found_body,
    parse_azure_path,
    unknown_path_body,
    with_deployment,
)
from streamcanary.simulator.api.base import ApiResponse
from streamcanary.simulator.api.chat import ChatApiResponse
from streamcanary.simulator.api.error_bodies import invalid_request_body
from streamcanary.simulator.api.responses import ResponsesApiResponse
from streamcanary.simulator.faults.azure import AZURE_FAULTS
from streamcanary.simulator.faults.before_stream import HTML, LOGIN_PAGE, LOGIN_PATH
from streamcanary.simulator.faults.fault_spec import FAULTS, MODEL_PREFIX, FaultSelector, FaultSpec, UnknownFault
from streamcanary.simulator.http.http1 import RequestHead
from streamcanary.simulator.http.response_writer import ResponseWriter
from streamcanary.simulator.recorded_response import RecordedResponse
from streamcanary.simulator.request_log import RecordedRequest, record_request
from streamcanary.simulator.timeline import Phase, Timeline

MODELS_PATH: Final = "/v1/models"
REQUESTS_PATH: Final = "/_requests"
_MAX_RECORDED = 1000  # requests that are recorded; the oldest are dropped
_MODEL_CREATED = 1_700_000_000  # the creation time of all models, seconds since the epoch; arbitrary


class ResponseFactory(Protocol):
    """Parses a request, and returns its regular response."""

    def __call__(self, body: bytes, *, token: str, now: float) -> ApiResponse:
        """Return the response; its id contains ``token``, and ``now`` is wall time in seconds since the epoch.

        Raises:
            ValueError: if the request is invalid or not supported.
        """
        ...


APIS_BY_PATH: Final[Mapping[str, ResponseFactory]] = {
    "/v1/chat/completions": ChatApiResponse.from_request,
    "/v1/responses": ResponsesApiResponse.from_request,
}
"""The APIs by path."""
AZURE_PREFIX: Final = "/openai/"
_AZURE_APIS: Final[Mapping[str, ResponseFactory]] = {
    "/v1/chat/completions": AzureChatResponse.from_request,
    "/v1/responses": ResponsesApiResponse.from_request,
}


class RequestHandler:
    """Answers requests, and records them."""

    def __init__(
        self,
        clock: Clock,
        *,
        timeline: Timeline | None = None,
        api_key: str | None = None,
        on_request: Callable[[RecordedRequest], None] | None = None,
    ) -> None:
        self.requests: deque[RecordedRequest] = deque(maxlen=_MAX_RECORDED)
        self.responses: deque[RecordedResponse] = deque(maxlen=_MAX_RECORDED)
        self._clock = clock
        self._timeline = timeline
        self._authorization = None if api_key is None else f"Bearer {api_key}".encode()
        self._on_request = on_request
        self._fault_selector = FaultSelector()
        self._timeline_started = clock.monotonic()

    def restart_timeline(self) -> None:
        """Restart the timeline now."""
        self._timeline_started = self._clock.monotonic()
        self._fault_selector = FaultSelector()

    @property
    def current_phase(self) -> Phase | None:
        """The current phase of the timeline; ``None`` without a timeline."""
        if self._timeline is None:
            return None
        return self._timeline.phase_at(self._clock.monotonic() - self._timeline_started)

    async def handle(self, head: RequestHead, body: bytes, writer: ResponseWriter) -> None:
        """Answer one request through ``writer``.

        Raises:
            ConnectionError: if the client has disconnected.
        """
        if head.method == "HEAD":  # the response to HEAD has no body
            self._record(head, body, writer)
            await writer.send_response(405)
        elif (head.method, head.path) == ("GET", REQUESTS_PATH):
            await writer.send_response(200, msgspec.json.encode({"requests": list(self.requests)}))
        elif azure := parse_azure_path(head.path):
            await self._handle_azure(azure, head, body, writer)
        elif head.path in APIS_BY_PATH and head.method == "POST" and self._is_authorized(head):
            await self._complete(APIS_BY_PATH[head.path], head, body, writer)
        else:
            self._record(head, body, writer)
            await writer.send_response(*self._other_response(head))

    async def _handle_azure(self, azure: AzurePath, head: RequestHead, body: bytes, writer: ResponseWriter) -> None:
        """Answer a request to a path of Azure."""
        create_response = _AZURE_APIS.get(azure.path) if head.method == "POST" else None
        if not self._is_authorized(head):
            error = 401, access_denied_body()
        elif azure.needs_version and "api-version=" not in head.query:
            error = 404, unknown_path_body()
        elif create_response is not None:
            sent = with_deployment(body, azure.deployment)
            await self._complete(create_response, head, sent, writer, not_found=deployment_not_found_body())
            return
        elif (head.method, azure.path) == ("GET", MODELS_PATH):
            error = 200, msgspec.json.encode({"object": "list", "data": [_model_object("gpt-4.1-mini-2025-04-14")]})
        else:
            error = 404, unknown_path_body()
        self._record(head, body, writer)
        await writer.send_response(*error)

    def _is_authorized(self, head: RequestHead) -> bool:
        """Return whether the request has the configured key, compared in constant time; Azure has a header for it."""
        given = head.headers.get("authorization", "").encode("latin-1")
        if head.path.startswith(AZURE_PREFIX) and "api-key" in head.headers:
            given = b"Bearer " + head.headers["api-key"].encode("latin-1")
        return self._authorization is None or hmac.compare_digest(given, self._authorization)

    async def _complete(
        self,
        create_response: ResponseFactory,
        head: RequestHead,
        body: bytes,
        writer: ResponseWriter,
        *,
        not_found: bytes | None = None,
    ) -> None:
        """Answer a request of an API; ``not_found`` is the error of Azure for a deployment that does not exist."""
        if not_found is not None and (model := _requested_model(body)) is not None and not self._is_known(model):
            self._record(head, body, writer, model=model)  # Azure looks it up before it reads the rest of the request
            await writer.send_response(404, not_found)
            return
        try:
            response = create_response(body, token=writer.request_id[4:], now=writer.now)
        except ValueError as invalid:
            self._record(head, body, writer)
            await writer.send_response(400, invalid_request_body(f"The request is not valid: {invalid}"))
            return
        model, stream = response.model, response.is_streamed
        try:
            fault = self._select_fault(model)
        except UnknownFault as unknown:
            self._record(head, body, writer, model=model, stream=stream)
            message = f"The model `{model[:200]}` does not exist: {unknown}"
            await writer.send_response(404, invalid_request_body(message, "model_not_found", "model"))
            return
        self._record(head, body, writer, model=model, stream=stream, fault=fault)
        faults = FAULTS if not_found is None else {**FAULTS, **AZURE_FAULTS}
        await faults[fault].respond(writer, response)

    def _select_fault(self, model: str) -> str:
        """Return the fault to play for a request of ``model``.

        Raises:
            UnknownFault: if the model does not exist.
        """
        phase = self.current_phase
        if phase is not None and self._timeline is not None and model == self._timeline.model:
            return self._fault_selector.next_fault(f"{model} at {phase.at}", FaultSpec.parse(phase.fault))
        return self._fault_selector.next_fault(model, _parse_model_name(model))

    def _is_known(self, model: str) -> bool:
        try:
            return (self._timeline is not None and model == self._timeline.model) or bool(_parse_model_name(model))
        except UnknownFault:
            return False

    def _other_response(self, head: RequestHead) -> tuple[int, bytes, str]:
        """Return status, body and content type of the response to a request that is not a completion."""
        json = "application/json"
        if head.path == LOGIN_PATH:
            return 200, LOGIN_PAGE, HTML
        if head.path.startswith("/v1/") and not self._is_authorized(head):
            if "authorization" in head.headers:
                return 401, invalid_request_body("Incorrect API key provided.", "invalid_api_key"), json
            return (
                401,
                invalid_request_body("You didn't provide an API key. Send one as Authorization: Bearer KEY."),
                json,
            )
        if head.path in APIS_BY_PATH:
            message = f"Not allowed to {head.method[:32]} on {head.path}; POST to it."
            return 405, invalid_request_body(message, "method_not_supported"), json
        if (head.method, head.path) == ("GET", MODELS_PATH):
            return 200, msgspec.json.encode({"object": "list", "data": self._model_list()}), json
        if head.method == "GET" and head.path.startswith(f"{MODELS_PATH}/"):
            return *self._model_by_name(head.path.removeprefix(f"{MODELS_PATH}/")), json
        return 404, invalid_request_body(f"Invalid URL ({head.method[:32]} {head.path[:200]})"), json

    def _model_list(self) -> list[dict[str, Any]]:
        names = [MODEL_PREFIX + name for name in FAULTS]
        return [_model_object(name) for name in ([self._timeline.model] if self._timeline else []) + names]

    def _model_by_name(self, name: str) -> tuple[int, bytes]:
        if self._timeline is None or name != self._timeline.model:
            try:
                _parse_model_name(name)
            except UnknownFault as unknown:
                message = f"The model '{name[:200]}' does not exist: {unknown}"
                return 404, invalid_request_body(message, "model_not_found", "model")
        return 200, msgspec.json.encode(_model_object(name))

    def _record(self, head: RequestHead, body: bytes, writer: ResponseWriter, **details: Any) -> None:
        elapsed = self._clock.monotonic() - self._timeline_started
        request = record_request(writer.request_id, head, body, at=writer.now, elapsed=elapsed, **details)
        self.requests.append(request)
        self.responses.append(writer.recorded)
        if self._on_request is not None:
            self._on_request(request)


def _requested_model(body: bytes) -> str | None:
    """Return the model of a request, which may lack the rest; ``None`` without one."""
    try:
        request = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    model = request.get("model") if isinstance(request, dict) else None
    return model if isinstance(model, str) else None


def _parse_model_name(name: str) -> FaultSpec:
    if not name.startswith(MODEL_PREFIX):
        raise UnknownFault(
            f"the models of the simulator are {MODEL_PREFIX}ok, {MODEL_PREFIX}cut, {MODEL_PREFIX}500@2 and so on"
        )
    if name == "sim-timeline":
        raise UnknownFault("no timeline is loaded for this model")
    return FaultSpec.parse(name.removeprefix(MODEL_PREFIX))


def _model_object(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _MODEL_CREATED, "owned_by": "streamcanary"}
