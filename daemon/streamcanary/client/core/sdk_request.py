"""The request of a route as the SDK is called with it, by the shortest way that sends the same bytes.

``create`` of the SDK matches each argument against the types of all its parameters, which costs as much as sending the
request, and changes nothing in plain JSON. So it is called once for each combination of parameters; the options that it
makes of them are kept, and later requests begin with a copy. What depends on more than the arguments is done for each
request: keys and tokens, headers, the URL (of Azure, too), the hooks of subclasses. ``request_heads`` says how.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx2
from msgspec import Struct
from openai import AsyncOpenAI, OpenAI
from openai._base_client import AsyncAPIClient, SyncAPIClient

from streamcanary.client.core.attempt import Api
from streamcanary.client.core.request_heads import RequestHeads, is_of_sdk

_TEMPLATES: Final = "_streamcanary_templates"
_MAX_TEMPLATES: Final = 16  # combinations of parameters; a program uses one or a few
_CHAT_PATH: Final = "/chat/completions"
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_TRANSPORT_PARAMETERS: Final = frozenset({"extra_headers", "extra_query"})


class SdkRequest(Struct, frozen=True):
    """A request of ``sdk``, a copy that captures requests, with ``arguments`` for its ``create``."""

    sdk: Any
    api: Api
    arguments: Mapping[str, Any]

    @property
    def body(self) -> dict[str, Any] | None:
        """What ``create`` makes of the arguments, without ``extra_body``; ``None`` if they are not plain JSON."""
        arguments = self.arguments
        if self.api != "chat" or arguments.get("messages") != () or not _TRANSPORT_PARAMETERS.isdisjoint(arguments):
            return None
        body = {name: value for name, value in arguments.items() if name != "extra_body"}
        body["messages"] = []
        return body if type(arguments["extra_body"]) is dict and all(map(_is_json, body.values())) else None

    def create(self, timeout: httpx2.Timeout) -> Any:
        """Call ``create`` of the SDK; return its context manager, which sends the request."""
        api = self.sdk.chat.completions if self.api == "chat" else self.sdk.responses
        return api.with_streaming_response.create(**self.arguments, timeout=timeout)

    def options(self, timeout: httpx2.Timeout) -> Any:
        """Return the options of the request; ``None`` if ``create`` is needed to make them."""
        sdk = self.sdk
        templates: RequestTemplates | None = getattr(sdk, _TEMPLATES, None)
        body = None if templates is None else self.body
        if templates is None or body is None or not _is_unchanged(sdk):
            return None
        template = templates.by_parameters.get(frozenset(body))
        if template is None:
            return None
        return template.model_copy(
            update={
                "json_data": body,
                "extra_json": self.arguments["extra_body"],
                "timeout": timeout,
                "idempotency_key": sdk._idempotency_key() if sdk._idempotency_header else None,
            }
        )

    def build(self, options: Any) -> httpx2.Request:
        """Return the HTTP request that the SDK builds of ``options``, which :meth:`options` has returned."""
        templates: RequestTemplates = getattr(self.sdk, _TEMPLATES)
        return templates.heads.build(self.sdk, options)


class RequestTemplates:
    """The options that ``create`` has made of arguments, by the names of the parameters; and ``heads`` of requests."""

    def __init__(self) -> None:
        self.by_parameters: dict[frozenset[str], Any] = {}
        self.heads = RequestHeads()

    def learn(self, options: Any, request: SdkRequest | None) -> None:
        """Keep ``options``, which ``create`` has made of ``request``, if they are what is expected."""
        if request is None or options.url != _CHAT_PATH or len(self.by_parameters) >= _MAX_TEMPLATES:
            return
        if type(options.json_data) is dict and frozenset(options.json_data) in self.by_parameters:
            return
        body = request.body
        if body is not None and options.json_data == body and options.extra_json == request.arguments["extra_body"]:
            empty = {"json_data": None, "extra_json": None}
            self.by_parameters.setdefault(frozenset(body), options.model_copy(update=empty))


def has_templates(sdk: AsyncOpenAI | OpenAI) -> bool:
    """Return whether ``sdk`` is a copy whose templates are kept."""
    return hasattr(sdk, _TEMPLATES)


def keep_templates(sdk: AsyncOpenAI | OpenAI, current: Callable[[], SdkRequest | None]) -> None:
    """Keep templates of the requests of ``sdk``; ``current`` returns the request that ``create`` is called for."""
    templates = RequestTemplates()
    setattr(sdk, _TEMPLATES, templates)
    prepare: Any = sdk._prepare_options

    def learn_and_prepare(options: Any) -> Any:
        templates.learn(options, current())
        return prepare(options)

    sdk._prepare_options = learn_and_prepare  # type: ignore[method-assign] # sync or a coroutine, as before


def _is_json(value: object) -> bool:
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is list:
        return all(map(_is_json, value))  # type: ignore[call-overload]
    return kind is dict and all(type(key) is str and _is_json(item) for key, item in value.items())  # type: ignore[attr-defined]


def _is_unchanged(sdk: Any) -> bool:
    """Return whether ``create`` and the methods that it calls are those of the SDK: others may do more."""
    base: Any = AsyncAPIClient if isinstance(sdk, AsyncAPIClient) else SyncAPIClient
    kind = type(sdk)
    return (
        kind.post is base.post
        and kind.request is base.request
        and sdk.custom_auth is None
        and getattr(sdk, "_workload_identity_auth", None) is None
        and is_of_sdk(type(sdk.chat.completions).create)
    )
