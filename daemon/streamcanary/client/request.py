"""The arguments of a call, checked before anything is sent, and as each route sends them."""

import inspect
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import httpx2
from msgspec import Struct
from openai import AsyncOpenAI
from openai.resources.chat import AsyncCompletions
from opentelemetry.util.types import AttributeValue

from streamcanary.client.instruments import CallRecorder, Instruments
from streamcanary.client.route import Route
from streamcanary.model import names

if TYPE_CHECKING:
    from openai.types.chat.completion_create_params import CompletionCreateParamsBase


if TYPE_CHECKING:  # only type checkers look at it, and the SDK's own class is made of another TypedDict

    class ChatArguments(CompletionCreateParamsBase, total=False):
        """What a stream takes: the arguments of the SDK's ``chat.completions.create``, with the SDK's own types."""

        extra_headers: Mapping[str, str] | None
        extra_query: Mapping[str, object] | None
        extra_body: object | None


class Request(Struct, frozen=True):
    """What goes to the SDK on one route."""

    model: str
    arguments: dict[str, Any]

    def recorder(
        self, instruments: Instruments, client: AsyncOpenAI, *, provider: str, labels: Mapping[str, str]
    ) -> CallRecorder:
        """Return the recorder of a call whose own route sends this request."""
        host, port, url = _endpoint(client.base_url)
        request: dict[str, AttributeValue] = {
            names.OPERATION: "chat",
            names.PROVIDER: provider,
            names.REQUEST_MODEL: self.model,
            names.REQUEST_STREAM: True,
            names.SERVER_ADDRESS: host,
            names.SERVER_PORT: port,
        }
        limit = self.arguments.get("max_completion_tokens", self.arguments.get("max_tokens"))
        if isinstance(limit, int):
            request[names.REQUEST_MAX_TOKENS] = limit
        return CallRecorder(instruments, model=self.model, labels=labels, request=request, url=url)


def prepare(arguments: Mapping[str, Any], route: Route | None) -> Request:
    """Return the request that ``route`` sends (``None``: the call's own).

    Raises:
        TypeError: if an argument is missing, unknown to the SDK, or set by the client itself.
    """
    if route is not None:
        arguments = {**arguments, **({"model": route.model} if route.model else {}), **route.overrides}
    for name in ("stream", "timeout", "background"):
        if name in arguments:
            raise TypeError(f"{name!r} cannot be given to a stream: the client sets it, see Timeouts for the clocks")
    if (arguments.get("n") or 1) != 1:
        raise TypeError("'n' must be 1: a stream has one answer")
    for name in ("model", "messages"):
        if not arguments.get(name):
            raise TypeError(f"a stream needs {name!r}")
    if not isinstance(arguments["model"], str):
        raise TypeError("'model' must be text")
    if unknown := arguments.keys() - _parameters():
        raise TypeError(
            f"unknown argument: {', '.join(sorted(unknown))}; extra_body carries what the SDK does not know"
        )
    return Request(arguments["model"], dict(arguments))


def shown_url(url: httpx2.URL) -> str:
    """Return ``url`` as it may be shown: without user, password and query, each of which can hold a secret."""
    if url.userinfo or url.query or url.fragment:
        url = url.copy_with(username=None, password=None, query=None, fragment=None)
    return str(url)


@lru_cache(maxsize=256)
def _endpoint(base: httpx2.URL) -> tuple[str, int, str]:
    port = base.port or (443 if base.scheme == "https" else 80)
    return base.host, port, shown_url(base).rstrip("/") + "/chat/completions"


@cache
def _parameters() -> frozenset[str]:
    return frozenset(inspect.signature(AsyncCompletions.create).parameters) - {"self"}
