"""Redirects, which no request follows: keys and headers would go to another host."""

import pytest
from openai import AsyncOpenAI, OpenAI

from streamcanary import RetryPolicy, StreamFailed
from streamcanary.model.faults import Blame, FaultKind, Phase
from support.client.drivers import DRIVERS, KEY, Driver, driver_client
from support.servers.hostile import HostileServer

ONE_ATTEMPT = RetryPolicy(max_attempts=1)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
async def test_redirect_is_a_fault_that_names_its_target(driver: Driver, status: int) -> None:
    """A redirect is not followed by the application's own client either, which would follow it by default."""
    async with HostileServer("HTTP/1.1 200 OK", list) as elsewhere:
        location = f"http://user:{KEY}@127.0.0.1:{elsewhere.port}/v2?ticket=s3cr3t#top"
        async with HostileServer(f"HTTP/1.1 {status} Moved\nlocation: {location}\ncontent-length: 0", list) as server:
            make = AsyncOpenAI if driver == "async" else OpenAI
            sdk = make(base_url=server.base_url, api_key=KEY, default_headers={"api-key": KEY})
            with pytest.raises(StreamFailed) as caught:
                await driver_client(driver, sdk, retry=ONE_ATTEMPT).complete("m")
            await sdk.close() if isinstance(sdk, AsyncOpenAI) else sdk.close()
        fault = caught.value.fault
    target = f"http://127.0.0.1:{elsewhere.port}/v2"
    assert (1, []) == (len(server.heads), elsewhere.heads)
    assert (FaultKind.NOT_A_STREAM, Phase.HEADERS, Blame.CONFIG, status, False) == (
        fault.kind,
        fault.phase,
        fault.blame,
        fault.status,
        fault.retryable,
    )
    assert f"the server redirects to {target}: a login page, or the base URL is wrong" == fault.message
