"""The synchronous streaming client."""

from typing import TYPE_CHECKING, Any, Unpack, overload

from openai import OpenAI

from streamcanary.client.base_client import BaseClient
from streamcanary.client.core.request import PreparedCall
from streamcanary.client.drivers.request_capture import capturing_sync_client
from streamcanary.client.drivers.sync_stream import Stream
from streamcanary.client.result import StreamResult

if TYPE_CHECKING:
    from streamcanary.client.core.request import ChatArguments, ResponsesArguments


class StreamClient(BaseClient[OpenAI, Stream]):
    """Synchronous :class:`~streamcanary.client.async_client.AsyncStreamClient`, from an ``OpenAI``; thread-safe.

    Everything is the same without ``await``, except that one timeout is less strict: until the headers are complete,
    the read timeout of the transport applies, which restarts with every byte.
    """

    @overload
    def complete(self, **arguments: "Unpack[ChatArguments]") -> StreamResult: ...

    @overload
    def complete(self, **arguments: "Unpack[ResponsesArguments]") -> StreamResult: ...

    def complete(self, **arguments: Any) -> StreamResult:
        """Stream the answer, and return it when it is complete.

        Raises:
            StreamFailed: if no attempt gave a complete answer.
            TypeError: as :meth:`stream`.
        """
        with self.stream(**arguments) as stream:
            stream.until_done()
            return stream.result

    _sdk_type = OpenAI

    @staticmethod
    def _capturing_client(sdk: OpenAI) -> OpenAI:
        return capturing_sync_client(sdk)

    def _create_stream(self, prepared: PreparedCall) -> Stream:
        return Stream(self._routes, prepared)
