"""The verb ``simulate``: serves the provider simulator."""

import argparse
import asyncio
import sys


def main(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; return 0, or 2 if the port or the timeline is unusable."""
    from streamcanary.simulator import ListenError, Timeline, TimelineInvalid

    try:
        timeline = Timeline.load(arguments.timeline) if arguments.timeline else None
        asyncio.run(_serve(arguments.port, timeline))
    except (ListenError, TimelineInvalid) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


async def _serve(port: int, timeline: object) -> None:
    from streamcanary.cli.signals import stop_on_signal
    from streamcanary.simulator import RecordedRequest, Simulator, Timeline

    def print_request(request: RecordedRequest) -> None:
        print(f"{request.method} {request.path} {request.model or ''} {request.fault or ''}".rstrip(), file=sys.stderr)

    stop = stop_on_signal()
    faults = timeline if isinstance(timeline, Timeline) else None
    async with Simulator(port=port, timeline=faults, on_request=print_request) as simulator:
        print(f"serving {simulator.base_url}", file=sys.stderr)
        await stop.event.wait()
    stop.stopped()
