"""``top`` of one of several replicas says which one it is, and what it does."""

from typing import Any

import msgspec
import pytest

from streamcanary.cli.live.remote_view import RemoteView
from streamcanary.model.status.replicas import ReplicasStatus
from support.status.replicas import make_status

SUMMARY = {
    "state": "ok",
    "sentence": "All well.",
    "counts": {},
    "instance": "i",
    "version": "1",
    "started": 1.0,
    "time": 2.0,
}


class Client:
    """A client of a daemon that has replicas with this status."""

    url = "http://pod-a:9465"

    def __init__(self, replicas: ReplicasStatus | None) -> None:
        self._replicas = replicas

    def request(self, method: str, path: str) -> Any:
        """Answer as a daemon without canaries does."""
        if path == "/api/v1/status":
            return {"summary": SUMMARY, "replicas": msgspec.to_builtins(self._replicas)}
        return {"incidents": [], "firing": 0} if "incidents" in path else {"canaries": [], "total": 0}


@pytest.mark.parametrize(
    ("replicas", "words"),
    [
        (None, ""),
        (make_status(), " · pod-a, 3 in all, alerts at pod-b"),
        (make_status(alerts_owner="pod-a"), " · pod-a, 3 in all, evaluates alerts"),
        (make_status(alerts_owner=""), " · pod-a, 3 in all, nobody evaluates alerts"),
        (make_status(standby="older"), " · pod-a, 3 in all, on standby"),
        (make_status(session=None), " · pod-a, 3 in all, runs no canary"),
    ],
)
def test_the_head_names_the_replica(replicas: ReplicasStatus | None, words: str) -> None:
    """What one sees is that of one replica, which may evaluate no alerts, or run nothing."""
    view = RemoteView(Client(replicas))  # type: ignore[arg-type]
    view.load()
    assert f"http://pod-a:9465{words}" == view.current([]).connection
