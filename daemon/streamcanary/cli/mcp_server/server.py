"""Creates the MCP server: tools that read the API of a daemon, and those that change something, if they are allowed."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

import msgspec
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from streamcanary import __version__
from streamcanary.cli.daemon_client import DaemonClient, DaemonRequestError
from streamcanary.cli.mcp_server.documents import (
    DATA_WARNING,
    answer,
    short_canary,
    short_incident,
    short_run,
    text_answer,
)
from streamcanary.cli.waterfall.render import Style, render_trace
from streamcanary.model.config_types.duration import parse_positive_duration
from streamcanary.model.outcome import Outcome
from streamcanary.model.run_trace import RunTrace

Probe = Callable[[str], Awaitable[Outcome]]
"""Runs the canary with a name once. May raise :class:`ProbeRefused`."""

MAX_SILENCE: Final = 86400.0
"""Seconds of a silence that an agent may create, at most: one day."""

MAX_PROBES: Final = 100
"""Runs that an agent may start in one session, at most: a canary without a price costs money, too."""

_INSTRUCTIONS = (
    "streamcanary runs canaries against LLM endpoints and alerts when they fail. Ask `status` first, then `incidents` "
    f"and `canaries`; `run_waterfall` shows how one run failed. {DATA_WARNING}"
)
_READ_ONLY = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_CHANGES = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=True)
_Name = Annotated[str, Field(max_length=200)]
_Limit = Annotated[int, Field(ge=1, le=50)]


class ProbeRefused(Exception):
    """A canary was not run; the text says why."""


def create_server(
    client: DaemonClient, *, probe: Probe | None = None, probed: tuple[str, ...] = (), may_silence: bool = False
) -> MCPServer[Any]:
    """Return the server for the daemon of ``client``.

    With ``probe`` an agent may run the canaries named in ``probed``, with ``may_silence`` it may create and end
    silences. Without, no tool changes anything or costs money.
    """
    server: MCPServer[Any] = MCPServer(
        "streamcanary", version=__version__, instructions=_INSTRUCTIONS, log_level="WARNING"
    )
    _add_reading_tools(server, client)
    if may_silence:
        _add_silence_tools(server, client)
    if probe is not None:
        _add_probe_tool(server, probe, probed)
    return server


def _add_reading_tools(server: MCPServer[Any], client: DaemonClient) -> None:
    @server.tool(annotations=_READ_ONLY, structured_output=False)
    async def status() -> str:
        """Return what is broken and since when, in one sentence, and how many canaries are in each state."""
        document = await _get(client, "/api/v1/status")
        return answer({name: document.get(name) for name in ("version", "summary")})

    @server.tool(annotations=_READ_ONLY, structured_output=False)
    async def canaries(state: _Name = "", text: _Name = "", limit: _Limit = 20) -> str:
        """List canaries with their state, last runs and last hour.

        `state` is ok, slow, degraded, failing or unknown; `text` is part of a name, target or model.
        """
        parameters = {"limit": str(limit), **({"state": state} if state else {}), **({"q": text} if text else {})}
        document = await _get(client, f"/api/v1/canaries?{urlencode(parameters)}")
        shown = [short_canary(each) for each in _items(document, "canaries")]
        return answer({"total": document.get("total"), "canaries": shown}, "canaries")

    @server.tool(annotations=_READ_ONLY, structured_output=False)
    async def canary(name: _Name) -> str:
        """Return one canary: its status, its faults of the last week, and how far each alert rule is from firing."""
        document = await _get(client, f"/api/v1/canaries/{quote(name, safe='')}")
        return answer({**document, "status": short_canary(document.get("status") or {})})

    @server.tool(annotations=_READ_ONLY, structured_output=False)
    async def incidents() -> str:
        """List the firing alerts with their evidence: counts, faults, who can fix it, diagnosis, ids of requests."""
        document = await _get(client, "/api/v1/incidents")
        shown = [short_incident(each) for each in _items(document, "incidents")]
        return answer({"firing": document.get("firing"), "incidents": shown}, "incidents")

    @server.tool(annotations=_READ_ONLY, structured_output=False)
    async def past_incidents(canary: _Name = "", limit: _Limit = 10) -> str:
        """List the alerts of the last 30 days with their timelines, latest first; `canary` is one they are about."""
        parameters = {"limit": str(limit), **({"canary": canary} if canary else {})}
        document = await _get(client, f"/api/v1/incidents/history?{urlencode(parameters)}")
        return answer({"incidents": _items(document, "incidents")}, "incidents")

    @server.tool(annotations=_READ_ONLY, structured_output=False)
    async def runs(canary: _Name, outcome: _Name = "", limit: _Limit = 10) -> str:
        """List the recorded runs of a canary, the latest first; `outcome` is ok, slow, failed_over or failed."""
        parameters = {"limit": str(limit), **({"outcome": outcome} if outcome else {})}
        document = await _get(client, f"/api/v1/canaries/{quote(canary, safe='')}/runs?{urlencode(parameters)}")
        return answer({"runs": [short_run(each) for each in _items(document, "runs")]}, "runs")

    @server.tool(annotations=_READ_ONLY, structured_output=False)
    async def run_waterfall(run_id: _Name) -> str:
        """Return a run as a waterfall: its attempts with their phases, the waits between them, and the faults.

        The daemon keeps the last good run and the latest failed runs of each canary.
        """
        document = await _get(client, f"/api/v1/runs/{quote(run_id, safe='')}")
        try:
            trace = msgspec.convert(document, RunTrace)
        except (msgspec.ValidationError, RecursionError):
            raise ToolError(f"{client.url} is not a streamcanary daemon") from None
        return text_answer(render_trace(trace, Style(width=120)))

    @server.tool(annotations=_READ_ONLY, structured_output=False)
    async def silences() -> str:
        """List the silences, active, pending and expired."""
        return answer(await _get(client, "/api/v1/silences"), "silences")


def _add_silence_tools(server: MCPServer[Any], client: DaemonClient) -> None:
    @server.tool(annotations=_CHANGES, structured_output=False)
    async def create_silence(
        match: Annotated[list[_Name], Field(min_length=1, max_length=20)],
        duration: Annotated[str, Field(max_length=20)],
        reason: Annotated[str, Field(min_length=1, max_length=500)],
    ) -> str:
        """Silence alerts that match all matchers, such as `canary="chat"`, for a time such as 30m, at most 24h.

        Ask the person on call before: a silenced alert notifies nobody.
        """
        try:
            is_too_long = parse_positive_duration(duration) > MAX_SILENCE
        except ValueError as error:
            raise ToolError(f"duration: {error}") from None
        if is_too_long:
            raise ToolError("duration: at most 24h; a person can create a longer silence with `streamcanary silence`")
        body = {"match": match, "for": duration, "by": "mcp", "why": reason}
        return answer(await _request(client, "POST", "/api/v1/silences", body))

    @server.tool(annotations=_CHANGES, structured_output=False)
    async def end_silence(silence_id: _Name) -> str:
        """End a silence before it expires."""
        await _request(client, "DELETE", f"/api/v1/silences/{quote(silence_id, safe='')}")
        return answer({"ended": silence_id})


def _add_probe_tool(server: MCPServer[Any], probe: Probe, probed: tuple[str, ...]) -> None:
    lock = asyncio.Lock()  # one at a time: each costs money
    probes = 0

    @server.tool(annotations=_CHANGES, structured_output=False)
    async def probe_canary(name: _Name) -> str:
        """Run a canary of the configuration once, now, which sends requests to its provider that may cost money."""
        if name not in probed:
            raise ToolError(f"there is no canary of this name; there are {', '.join(probed[:50])}")
        nonlocal probes
        async with lock:
            if probes >= MAX_PROBES:
                raise ToolError(f"at most {MAX_PROBES} probes are allowed in one session; ask the person on call")
            probes += 1
            try:
                outcome = await probe(name)
            except ProbeRefused as error:
                raise ToolError(str(error)) from None
        return answer(short_run(msgspec.to_builtins(outcome)))


async def _get(client: DaemonClient, path: str) -> Mapping[str, Any]:
    document = await _request(client, "GET", path)
    if not isinstance(document, dict):
        raise ToolError(f"{client.url} is not a streamcanary daemon")
    return document


def _items(document: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    items = document.get(name)
    if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
        raise ToolError("the address is not that of a streamcanary daemon")
    return items


async def _request(client: DaemonClient, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Send a request in another thread.

    Raises:
        ToolError: if the daemon cannot be reached, or refuses.
    """
    try:
        return await asyncio.to_thread(client.request, method, path, body)
    except DaemonRequestError as error:
        raise ToolError(str(error)) from None
