"""The asynchronous client."""

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
    """Streams answers, and turns every failure into one of two things: a complete answer or a typed fault.

    Takes an ``AsyncOpenAI`` (or a subclass, such as ``AsyncAzureOpenAI``); its own retries are switched off inside, its
    transport, keys and headers are used as they are.

    ``fallbacks`` are asked in order, once each, when the call's own route has failed. ``on_partial`` says what happens
    when an attempt fails after text was delivered: ``"restart"`` (a ``Restarted`` event voids it), ``"fail"``, or
    ``"buffer"`` (nothing is delivered until it is whole). ``on`` is asked about each fault of the own route, and may
    decide about its retry. ``budget`` bounds the retries of all calls together (by default one of 500 tokens),
    ``breaker`` keeps calls from a route that mostly fails (by default: the defaults of ``BreakerPolicy``; ``None`` for
    none). ``provider`` and ``labels`` go on spans and metrics. ``lenient`` accepts ``[DONE]`` in place of a
    ``finish_reason``, as some servers end. ``time_per_chunk`` records the time between chunks as
    ``gen_ai.client.operation.time_per_output_chunk`` (off by default: it costs almost as much as all else that is done
    for a chunk). ``secrets`` are scrubbed from every message, as keys and tokens are; they are looked at for each call.
    """

    @overload
    async def complete(self, **arguments: "Unpack[ChatArguments]") -> StreamResult: ...

    @overload
    async def complete(self, **arguments: "Unpack[ResponsesArguments]") -> StreamResult: ...

    async def complete(self, **arguments: Any) -> StreamResult:
        """Stream the answer, and return it when it is whole.

        Raises:
            StreamFailed: if no attempt gave a whole answer.
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
