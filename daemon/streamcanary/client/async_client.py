"""The asynchronous streaming client."""

from typing import TYPE_CHECKING, Any, Unpack, overload

from openai import AsyncOpenAI

from streamcanary.client.base_client import BaseClient
from streamcanary.client.core.request import PreparedCall
from streamcanary.client.drivers.async_stream import AsyncStream
from streamcanary.client.drivers.request_capture import capturing_async_client
from streamcanary.client.result import StreamResult

if TYPE_CHECKING:
    from streamcanary.client.core.request import ChatArguments, ResponsesArguments


class AsyncStreamClient(BaseClient[AsyncOpenAI, AsyncStream]):
    """Streams answers with retries, fallbacks and timeouts: a call gives a complete answer or a typed fault.

    Takes an ``AsyncOpenAI`` or a subclass, such as ``AsyncAzureOpenAI``. Its retries are switched off; its transport,
    keys and headers are used unchanged.

    ``fallbacks`` are tried in order, once each, after the primary route has failed. ``on_partial`` says what happens
    when an attempt fails after text was delivered: ``"restart"`` (a ``Restarted`` event voids it), ``"fail"``, or
    ``"buffer"`` (nothing is delivered until the answer is complete). ``on`` is called with each fault of the primary
    route and can decide about its retry. ``budget`` limits the retries of all calls together (default: 500 tokens).
    ``breaker`` stops calls to a route that mostly fails (default: ``BreakerPolicy()``; ``None`` disables it).
    ``provider`` and ``labels`` are attributes of spans and metrics. ``lenient`` accepts ``[DONE]`` in place of a
    ``finish_reason``, because some servers end a stream that way. ``limits`` bounds the size of an answer, for one with
    a large image or long audio (default: ``Limits()``). ``time_per_chunk`` records the time between chunks as
    ``gen_ai.client.operation.time_per_output_chunk`` (off by default: it costs almost as much as all other work for a
    chunk). ``max_loop_share`` is the part of the event loop's time that one stream may take, after a burst of a quarter
    second; a server that floods is then read more slowly (default: 1, no limit). ``secrets`` are removed from every
    message, in addition to keys and tokens; they are read at each call. ``max_response_models`` is how many names of
    models that answer become the label ``gen_ai.response.model`` of metrics, for each requested model (default: 16);
    further ones are ``other``, and with 0, metrics do not have the label.
    ``capture_content`` records prompt and answer on the span of the call, redacted and bounded (by default the variable
    ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`` decides, and without it, they are not recorded).
    """

    @overload
    async def complete(self, **arguments: "Unpack[ChatArguments]") -> StreamResult: ...

    @overload
    async def complete(self, **arguments: "Unpack[ResponsesArguments]") -> StreamResult: ...

    async def complete(self, **arguments: Any) -> StreamResult:
        """Stream the answer, and return it when it is complete.

        Raises:
            StreamFailed: if no attempt gave a complete answer.
            TypeError: as :meth:`stream`.
        """
        async with self.stream(**arguments) as stream:
            await stream.until_done()
            return stream.result

    _sdk_type = AsyncOpenAI

    @staticmethod
    def _capturing_client(sdk: AsyncOpenAI) -> AsyncOpenAI:
        return capturing_async_client(sdk)

    def _create_stream(self, prepared: PreparedCall) -> AsyncStream:
        return AsyncStream(self._routes, prepared)
