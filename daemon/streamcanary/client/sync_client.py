"""The synchronous client."""

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
    """:class:`~streamcanary.client.async_client.AsyncStreamClient`, synchronous, from an ``OpenAI``; usable from threads.

    Everything is the same but for ``await``. One clock is a little looser: before the headers have come it is the
    transport's, which starts anew with every byte of them.
    """

    @overload
    def complete(self, **arguments: "Unpack[ChatArguments]") -> StreamResult: ...

    @overload
    def complete(self, **arguments: "Unpack[ResponsesArguments]") -> StreamResult: ...

    def complete(self, **arguments: Any) -> StreamResult:
        """Stream the answer, and return it when it is whole.

        Raises:
            StreamFailed: if no attempt gave a whole answer.
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
