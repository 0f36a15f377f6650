"""Validates the arguments of a call, and builds the request of each route."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import httpx2
from msgspec import Struct
from opentelemetry.util.types import AttributeValue

from streamcanary.client.core.answers.completeness import DEFAULT_TOKEN_LIMITS, TokenLimit
from streamcanary.client.core.attempt import Api
from streamcanary.client.fallbacks import Route
from streamcanary.client.instrumentation.attributes import host_and_port
from streamcanary.client.instrumentation.call_recorder import CallRecorder
from streamcanary.client.instrumentation.instruments import Instruments
from streamcanary.model import names

if TYPE_CHECKING:
    from typing import TypedDict

    from openai.types.chat.completion_create_params import CompletionCreateParamsBase
    from openai.types.responses.response_create_params import ResponseCreateParamsBase


if TYPE_CHECKING:  # for type checkers only; the SDK's classes are based on another TypedDict

    class _Transport(TypedDict, total=False):
        extra_headers: Mapping[str, str] | None
        extra_query: Mapping[str, object] | None
        extra_body: object | None

    class ChatArguments(CompletionCreateParamsBase, _Transport, total=False):
        """Arguments of a Chat Completions stream: those of the SDK's ``create``, with the types of the SDK."""

    class ResponsesArguments(ResponseCreateParamsBase, _Transport, total=False):
        """Arguments of a Responses stream: those of the SDK's ``create``, with the types of the SDK."""


_TOKEN_LIMIT_PARAMETERS = ("max_completion_tokens", "max_output_tokens", "max_tokens")


class ApiRequest(Struct, frozen=True):
    """The request of one route, as passed to the SDK."""

    api: Api
    model: str
    arguments: dict[str, Any]

    @property
    def token_limit(self) -> TokenLimit:
        """The limit of output tokens; from ``extra_body``, if it is there."""
        body = self.arguments.get("extra_body")
        given = (body, self.arguments) if isinstance(body, Mapping) else (self.arguments,)
        for name in _TOKEN_LIMIT_PARAMETERS:
            for parameters in given:
                limit = parameters.get(name)
                if isinstance(limit, int) and not isinstance(limit, bool):
                    return TokenLimit(name, limit)
        return DEFAULT_TOKEN_LIMITS[self.api]

    def create_recorder(
        self, instruments: Instruments, base_url: httpx2.URL, *, provider: str, labels: Mapping[str, str]
    ) -> CallRecorder:
        """Return the recorder of a call whose primary route sends this request."""
        host, port, url = _server_and_url(base_url)
        attributes: dict[str, AttributeValue] = {
            names.OPERATION: "chat",
            names.PROVIDER: provider,
            names.REQUEST_MODEL: self.model,
            names.REQUEST_STREAM: True,
            names.SERVER_ADDRESS: host,
            names.SERVER_PORT: port,
        }
        if (limit := self.token_limit.tokens) is not None:
            attributes[names.REQUEST_MAX_TOKENS] = limit
        url = f"{url}/{'chat/completions' if self.api == 'chat' else 'responses'}"
        return CallRecorder(
            instruments,
            model=self.model,
            labels=labels,
            request_attributes=attributes,
            url=url,
            content=self.arguments if instruments.captures_content else None,
        )


class PreparedCall(Struct, frozen=True):
    """A call that has not started: its request on each route; ``None`` for a route that sends nothing."""

    api: Api
    requests: tuple[ApiRequest | None, ...]
    primary: ApiRequest


def prepare_request(arguments: Mapping[str, Any], route: Route | None) -> ApiRequest:
    """Return the request of ``route`` (``None``: the primary route).

    Raises:
        TypeError: if an argument is missing, unknown to the SDK, or set by the client itself.
    """
    if route is None:
        _reject_reserved(arguments)
    else:
        _reject_reserved(route.overrides, " in the overrides of a Route")  # before inapplicable ones are dropped
        overrides = _applicable_overrides(route.overrides, "responses" if "input" in arguments else "chat")
        arguments = {**arguments, **({"model": route.model} if route.model else {}), **overrides}
    if ("messages" in arguments) is ("input" in arguments):
        raise TypeError("a stream needs either 'messages' (Chat Completions) or 'input' (Responses)")
    api: Api = "chat" if "messages" in arguments else "responses"
    for name in ("model", "messages" if api == "chat" else "input"):
        if not arguments.get(name):
            raise TypeError(f"a stream needs {name!r}")
    if not isinstance(arguments["model"], str):
        raise TypeError("'model' must be text")
    if unknown := arguments.keys() - accepted_parameters(api):
        raise TypeError(
            f"unknown argument: {', '.join(sorted(unknown))}; pass arguments that the SDK does not know in extra_body"
        )
    return ApiRequest(api, arguments["model"], dict(arguments))


def _applicable_overrides(overrides: Mapping[str, Any], api: Api) -> dict[str, Any]:
    """Return ``overrides`` without those that only the other API knows."""
    unknown = overrides.keys() - accepted_parameters(api)
    if not unknown:
        return dict(overrides)
    inapplicable = accepted_parameters("chat" if api == "responses" else "responses")
    return {name: value for name, value in overrides.items() if not (name in unknown and name in inapplicable)}


def _reject_reserved(arguments: Mapping[str, Any], where: str = "") -> None:
    """Reject arguments that the client sets; the SDK would let those in ``extra_body`` override them silently."""
    _reject_arguments(arguments, ("stream", "timeout", "background"), where)
    body = arguments.get("extra_body")
    if isinstance(body, Mapping):
        _reject_arguments(body, ("stream", "background"), f" in extra_body{where}")


def _reject_arguments(arguments: Mapping[str, Any], reserved: Iterable[str], where: str) -> None:
    for name in reserved:
        if name in arguments:
            raise TypeError(
                f"{name!r}{where} cannot be given to a stream: the client sets it; set timeouts with Timeouts"
            )
    if (arguments.get("n") or 1) != 1:
        raise TypeError(f"'n'{where} must be 1: a stream has one answer")


def materialize_iterators(value: Any) -> Any:
    """Return ``value`` with each iterator read into a list, because a second attempt would find it empty."""
    if isinstance(value, Iterator):
        value = list(value)
    if isinstance(value, list):
        return [materialize_iterators(item) if isinstance(item, (Iterator, dict, list)) else item for item in value]
    if isinstance(value, dict):
        return {
            key: materialize_iterators(item) if isinstance(item, (Iterator, dict, list)) else item
            for key, item in value.items()
        }
    return value


def redact_url(url: httpx2.URL) -> str:
    """Return ``url`` without user, password, query and fragment, each of which can contain a secret."""
    if url.userinfo or url.query or url.fragment:
        url = url.copy_with(username=None, password=None, query=None, fragment=None)
    return str(url)


@lru_cache(maxsize=256)
def _server_and_url(base: httpx2.URL) -> tuple[str, int, str]:
    return *host_and_port(base), redact_url(base).rstrip("/")


@cache
def accepted_parameters(api: Api) -> frozenset[str]:
    """Return the parameter names of the SDK's ``create`` of ``api``.

    Only that API is imported: Responses takes 5 MB, and most programs use one of the two.
    """
    create: Callable[..., Any]
    if api == "chat":
        from openai.resources.chat import AsyncCompletions

        create = AsyncCompletions.create
    else:
        from openai.resources.responses import AsyncResponses

        create = AsyncResponses.create
    return frozenset(inspect.signature(create).parameters) - {"self"}
