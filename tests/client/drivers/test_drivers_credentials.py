"""The credentials of a request, which are removed from whatever its server sends."""

import httpx2
import pytest

from streamcanary.client.drivers.request_capture import RequestCapture


@pytest.mark.parametrize(
    ("headers", "credentials"),
    [
        ({"Authorization": "Bearer one"}, ("one",)),
        ({"Authorization": "Basic c3ZjOm9uZQ=="}, ("Basic c3ZjOm9uZQ==",)),
        ({"api-key": "one", "X-Api-Key": "two", "Ocp-Apim-Subscription-Key": "three"}, ("one", "two", "three")),
        ({"Cookie": "session=one", "X-Auth-Token": "two", "Client-Secret": "three"}, ("session=one", "two", "three")),
        ({"Proxy-Authorization": "one"}, ("one",)),
        ({"Idempotency-Key": "one", "Accept": "two", "Authorization": ""}, ()),
    ],
)
def test_headers_with_credentials_are_secret(headers: dict[str, str], credentials: tuple[str, ...]) -> None:
    """Keys, tokens, cookies and credentials of proxies are secrets, by the names of their headers."""
    capture = RequestCapture()
    capture.on_request(httpx2.Request("POST", "http://provider.test/", headers=headers), {})
    assert credentials == capture.credentials
