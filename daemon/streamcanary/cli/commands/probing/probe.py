"""The verb ``probe``: runs canaries once and prints the results."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from streamcanary.cli.load_config import UsageError, load_config

if TYPE_CHECKING:
    from streamcanary.canary.spec import CanarySpec
    from streamcanary.canary.target import BaseTarget

TargetsAndCanaries = tuple[Mapping[str, "BaseTarget"], Mapping[str, "CanarySpec"]]


def main(arguments: argparse.Namespace) -> int:
    """Run canaries once; return 0 if all are ok or slow, 1 if not, 2 for invalid arguments or configuration."""
    from streamcanary.model.config_types.secret import SecretUnreadable
    from streamcanary.transport.proxy import InvalidProxyUrl
    from streamcanary.transport.tls import TlsFileError

    try:
        targets, canaries = _load_targets(arguments)
        return asyncio.run(
            _run_probe(
                targets,
                canaries,
                as_json=arguments.json,
                with_diagnosis=arguments.diagnose,
                print_trace=_TracePrinter(as_json=arguments.json) if arguments.trace else None,
            )
        )
    except UsageError as error:
        if str(error):
            print(f"streamcanary: {error}", file=sys.stderr)
        return 2
    except (SecretUnreadable, TlsFileError, InvalidProxyUrl) as error:
        print(f"streamcanary: {error}", file=sys.stderr)
        return 2


def _load_targets(arguments: argparse.Namespace) -> TargetsAndCanaries:
    if arguments.config is None:
        return _from_options(arguments)
    if arguments.base_url or arguments.model or arguments.prompt or arguments.api_key_file:
        raise UsageError("--base-url, --model, --prompt and --api-key-file cannot be combined with -c")
    settings = load_config(arguments.config)
    if unknown := [name for name in arguments.canaries if name not in settings.canaries]:
        raise UsageError(f"unknown canary {', '.join(unknown)}; known: {', '.join(settings.canaries)}")
    return settings.targets, {name: settings.canaries[name] for name in arguments.canaries or settings.canaries}


def _from_options(arguments: argparse.Namespace) -> TargetsAndCanaries:
    from pydantic import ValidationError

    from streamcanary.canary.spec import CanarySpec
    from streamcanary.canary.target import TargetSpec

    if arguments.canaries or not (arguments.base_url and arguments.model):
        raise UsageError("give either -c FILE, or --base-url URL and --model NAME")
    key = {"api_key_file": arguments.api_key_file} if arguments.api_key_file else {"api_key": _key_from_environment()}
    prompt = {"prompt": arguments.prompt} if arguments.prompt else {}
    try:
        target = TargetSpec.model_validate({"base_url": arguments.base_url, **key})
        canary = CanarySpec.model_validate({"target": "endpoint", "model": arguments.model, **prompt})
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        option = "--" + str(problem["loc"][0] if problem["loc"] else "api_key").replace("_", "-")
        raise UsageError(f"{option}: {problem['msg'].removeprefix('Value error, ')}") from None
    return {"endpoint": target}, {"probe": canary}


def _key_from_environment() -> str:
    # Self-hosted endpoints often need no key, but the SDK requires a value.
    return os.environ.get("OPENAI_API_KEY") or "none"


class _TracePrinter:
    """Records the spans of runs from now on, and prints the waterfall of one."""

    def __init__(self, *, as_json: bool) -> None:
        from streamcanary.telemetry.config import TelemetryConfig
        from streamcanary.telemetry.providers import Telemetry
        from streamcanary.telemetry.runs.store import RunStore

        self._as_json = as_json
        self._runs = RunStore()
        telemetry = Telemetry(environ={}, runs=self._runs)
        telemetry.prepare(TelemetryConfig(prometheus=False))
        telemetry.apply()

    def __call__(self, run_id: str) -> None:
        """Print the run, if it is recorded."""
        import msgspec

        from streamcanary.cli.waterfall.render import render_trace
        from streamcanary.cli.waterfall.terminal_style import style_of_stdout

        if (trace := self._runs.find(run_id)) is None:
            return
        if self._as_json:
            print(msgspec.json.encode(trace).decode(), flush=True)
        else:
            print("\n".join(["", *render_trace(trace, style_of_stdout()), ""]), flush=True)


async def _run_probe(
    targets: Mapping[str, "BaseTarget"],
    canaries: Mapping[str, "CanarySpec"],
    *,
    as_json: bool,
    with_diagnosis: bool,
    print_trace: Callable[[str], None] | None = None,
) -> int:
    import msgspec

    from streamcanary.canary.preflight import diagnose
    from streamcanary.canary.run_redaction import RunRedactor
    from streamcanary.canary.runners import CanaryRunners
    from streamcanary.cli.commands.probing.probe_output import EventPrinter, print_diagnosis, print_outcome
    from streamcanary.model.clock import SystemClock
    from streamcanary.model.outcome import OutcomeKind

    clock, all_succeeded = SystemClock(), True
    redactors = {name: RunRedactor(name, spec, targets) for name, spec in canaries.items()}
    on_event = None if as_json else EventPrinter(redactors)
    async with CanaryRunners(targets, canaries, clock=clock, on_event=on_event) as runners:
        for name, runner in runners.by_name.items():
            if not as_json:
                print(f"{name}: probing {runner.canary.target}, model {canaries[name].model}")
            if with_diagnosis:
                diagnosis = await diagnose(targets[runner.canary.target], canaries[name].model, clock=clock)
                if as_json:
                    print(msgspec.json.encode({"canary": name, "diagnosis": diagnosis}).decode(), flush=True)
                else:
                    print_diagnosis(diagnosis)
            outcome = await runner(clock.time())
            all_succeeded = all_succeeded and outcome.kind in (OutcomeKind.OK, OutcomeKind.SLOW)
            if as_json:
                print(msgspec.json.encode(outcome).decode())
            else:
                print_outcome(outcome)
            if print_trace is not None:
                print_trace(outcome.run_id)
    return 0 if all_succeeded else 1
