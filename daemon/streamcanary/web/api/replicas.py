"""``GET /api/v1/replicas``: the replicas that share a database, and who owns what."""

from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from streamcanary.model.status.replicas import ReplicasStatus
from streamcanary.web.api.endpoints import Endpoint
from streamcanary.web.api.responses import json_response
from streamcanary.web.problems import problem_response


class Replicas(Protocol):
    """The replicas as the API and the page use them."""

    def status(self) -> ReplicasStatus:
        """Return what this replica knows about itself and the others."""
        ...

    def owner_of(self, canary: str) -> str:
        """Return the name of the replica that runs a canary; empty if none does."""
        ...


def other_owner(replicas: Replicas | None, canary: str) -> str:
    """Return the other replica that runs ``canary`` now, with the address of its web server; empty if none does."""
    if replicas is None:
        return ""
    status, name = replicas.status(), replicas.owner_of(canary)
    if name in ("", status.name):
        return ""
    address = next((row.address for row in status.replicas if row.name == name), "")
    return f"{name} ({address})" if address else name


def replica_endpoints(replicas: Replicas | None) -> list[Endpoint]:
    """Return the endpoint of replicas; without a shared database there are none, and it answers 404."""

    async def list_replicas(request: Request) -> Response:
        if replicas is None:
            return problem_response(request, 404, "this daemon shares its store with no replicas; see store.url")
        return json_response(replicas.status())

    return [
        Endpoint(
            method="GET",
            path="/api/v1/replicas",
            handle=list_replicas,
            tag="status",
            summary="Return the replicas that share the database, and which of them owns what.",
            description="Only with `store.url`. `name` is the replica that answers.",
            result=ReplicasStatus,
            problems=(404,),
        )
    ]
