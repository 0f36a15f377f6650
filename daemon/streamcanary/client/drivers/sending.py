"""Sends a request through the SDK, which calls its hooks and adds keys, tokens and headers."""

import httpx2

from streamcanary.client.core.sdk_request import SdkRequest


async def send_async(request: SdkRequest, timeout: httpx2.Timeout) -> httpx2.Response:  # noqa: ASYNC109 - of the SDK
    """Send ``request``, and return the response when its head has arrived."""
    options, sdk = request.options(timeout), request.sdk
    if options is None:
        response: httpx2.Response = (await request.create(timeout).__aenter__()).http_response
        return response
    http_request = request.build(await sdk._prepare_options(options))
    await sdk._prepare_request(http_request)
    return await sdk._send_request(http_request, stream=True)  # type: ignore[no-any-return] # of any client


def send_sync(request: SdkRequest, timeout: httpx2.Timeout) -> httpx2.Response:
    """Send ``request`` as :func:`send_async` does."""
    options, sdk = request.options(timeout), request.sdk
    if options is None:
        response: httpx2.Response = request.create(timeout).__enter__().http_response
        return response
    http_request = request.build(sdk._prepare_options(options))
    sdk._prepare_request(http_request)
    return sdk._send_request(http_request, stream=True)  # type: ignore[no-any-return] # of any client
