"""The verb ``probe``: runs canaries, once or many times, and prints the results."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from streamcanary.cli.load_config import UsageError, load_config

if TYPE_CHECKING:
    from streamcanary.canary.runners import CanaryRunners
    from streamcanary.canary.spec import CanarySpec
    from streamcanary.canary.spend.budget import BudgetConfig
    from streamcanary.canary.targets.target import BaseTarget
    from streamcanary.cli.commands.probing.requirements import Requirement
    from streamcanary.cli.commands.probing.series import SeriesEnd
    from streamcanary.cli.commands.probing.series_report import ProbedCanary
    from streamcanary.model.outcome import Outcome, OutcomeKind

_INTERRUPTED = 130


class _Probe(NamedTuple):
    """What is probed: the targets and canaries of a configuration or of options, and the budget."""

    targets: Mapping[str, "BaseTarget"]
    canaries: Mapping[str, "CanarySpec"]
    budget: "BudgetConfig"


def main(arguments: argparse.Namespace) -> int:
    """Run canaries; return 0 if they meet what is required, 1 if not, 2 for invalid arguments or configuration.

    130 if the series was interrupted; then what was measured so far is printed.
    """
    from streamcanary.model.config_types.secret import SecretUnreadable
    from streamcanary.transport.proxy import InvalidProxyUrl
    from streamcanary.transport.tls import TlsFileError

    try:
        requirements = _requirements(arguments)
        _check_files(arguments)
        probe = _load_probe(arguments)
        _check_size(arguments, len(probe.canaries))
        return asyncio.run(_run_probe(probe, arguments, requirements))
    except UsageError as error:
        if str(error):
            print(f"streamcanary: {error}", file=sys.stderr)
        return 2
    except (SecretUnreadable, TlsFileError, InvalidProxyUrl) as error:
        print(f"streamcanary: {error}", file=sys.stderr)
        return 2


def _requirements(arguments: argparse.Namespace) -> tuple["Requirement", ...]:
    from streamcanary.cli.commands.probing.requirements import parse_requirement

    if arguments.json and arguments.markdown == "-":
        raise UsageError("--json and --markdown both print to stdout; give a file: --markdown FILE")
    requirements = []
    for text in arguments.require:
        try:
            requirements.append(parse_requirement(text))
        except ValueError as error:
            raise UsageError(f"--require {text!r}: {error}") from None
    return tuple(requirements)


def _check_files(arguments: argparse.Namespace) -> None:
    """Check that the reports can be written, before the runs cost money.

    Raises:
        UsageError: if one cannot.
    """
    for option in ("junit", "markdown"):
        text = getattr(arguments, option)
        if text is None or (option == "markdown" and text == "-"):
            continue
        file = Path(text)
        if str(file) == "-":
            raise UsageError(f"--{option} -: give a file; stdout has the summary")
        if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
            raise UsageError(f"--{option} {file}: cannot be written; choose another file, in a folder that exists")


def _check_size(arguments: argparse.Namespace, canaries: int) -> None:
    from streamcanary.cli.commands.probing.series import check_bounds

    if problem := check_bounds(arguments.repeat, arguments.parallel, canaries):
        raise UsageError(problem)
    if arguments.trace and _is_series(arguments):
        raise UsageError("--trace shows single runs; leave out --repeat and --parallel")


def _is_series(arguments: argparse.Namespace) -> bool:
    return bool(arguments.repeat > 1 or arguments.parallel > 1)


def _load_probe(arguments: argparse.Namespace) -> _Probe:
    if arguments.config is None:
        return _from_options(arguments)
    if arguments.base_url or arguments.model or arguments.prompt or arguments.api_key_file:
        raise UsageError("--base-url, --model, --prompt and --api-key-file cannot be combined with -c")
    settings = load_config(arguments.config)
    if unknown := [name for name in arguments.canaries if name not in settings.canaries]:
        raise UsageError(f"unknown canary {', '.join(unknown)}; known: {', '.join(settings.canaries)}")
    canaries = {name: settings.canaries[name] for name in arguments.canaries or settings.canaries}
    return _Probe(settings.targets, canaries, settings.budget)


def _from_options(arguments: argparse.Namespace) -> _Probe:
    from pydantic import ValidationError

    from streamcanary.canary.spec import CanarySpec
    from streamcanary.canary.spend.budget import BudgetConfig
    from streamcanary.canary.targets.target import TargetSpec

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
    return _Probe({"endpoint": target}, {"probe": canary}, BudgetConfig())


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


async def _run_probe(probe: _Probe, arguments: argparse.Namespace, requirements: Sequence["Requirement"]) -> int:
    from streamcanary.canary.run_redaction import RunRedactor
    from streamcanary.canary.runners import CanaryRunners
    from streamcanary.canary.spend.guard import prices_by_canary
    from streamcanary.cli.commands.probing.probe_output import EventPrinter
    from streamcanary.cli.commands.probing.requirements import failing_kinds
    from streamcanary.cli.commands.probing.series import SeriesEnd
    from streamcanary.model.clock import SystemClock

    clock, is_series = SystemClock(), _is_series(arguments)
    redactors = {name: RunRedactor(name, spec, probe.targets) for name, spec in probe.canaries.items()}
    prints_runs = not (is_series or arguments.json or arguments.markdown == "-")
    print_trace = _TracePrinter(as_json=arguments.json) if arguments.trace else None
    outcomes: list[Outcome] = []
    async with CanaryRunners(
        probe.targets, probe.canaries, clock=clock, on_event=EventPrinter(redactors) if prints_runs else None
    ) as runners:
        runners.prepare(probe.targets, probe.canaries, prices_by_canary(probe.budget, probe.targets, probe.canaries))
        runners.apply()
        if is_series:
            end = await _run_series(probe, runners, arguments, outcomes)
        else:
            await _run_once(probe, runners, arguments, outcomes, prints_runs=prints_runs, print_trace=print_trace)
            end = SeriesEnd()
    kinds = failing_kinds(arguments.fail_on, requirements)
    canaries = _evaluate(probe, runners, outcomes, kinds, requirements)
    _write_reports(canaries, outcomes, arguments, kinds, _note(arguments, end))
    if end.is_interrupted:
        return _INTERRUPTED
    return 1 if end.is_budget_spent or any(canary.violations for canary in canaries) else 0


async def _run_once(
    probe: _Probe,
    runners: "CanaryRunners",
    arguments: argparse.Namespace,
    outcomes: "list[Outcome]",
    *,
    prints_runs: bool,
    print_trace: Callable[[str], None] | None,
) -> None:
    """Run each canary once, and print the run when it has ended."""
    import msgspec

    from streamcanary.cli.commands.probing.probe_output import print_outcome
    from streamcanary.model.clock import SystemClock

    for name, runner in runners.by_name.items():
        if prints_runs:
            print(f"{name}: probing {runner.canary.target}, model {probe.canaries[name].model}")
        if arguments.diagnose:
            await _diagnose(probe, name, as_json=arguments.json, is_printed=prints_runs)
        outcome = await runner(SystemClock().time())
        outcomes.append(outcome)
        if arguments.json:
            print(msgspec.json.encode(outcome).decode())
        elif prints_runs:
            print_outcome(outcome)
        if print_trace is not None:
            print_trace(outcome.run_id)


async def _run_series(
    probe: _Probe, runners: "CanaryRunners", arguments: argparse.Namespace, outcomes: "list[Outcome]"
) -> "SeriesEnd":
    """Run the canaries many times, with a progress bar on a terminal."""
    import msgspec

    from streamcanary.cli.commands.probing.progress import SeriesProgress
    from streamcanary.cli.commands.probing.series import run_series
    from streamcanary.model.clock import SystemClock

    if arguments.diagnose:
        for name in probe.canaries:
            await _diagnose(probe, name, as_json=arguments.json, is_printed=arguments.markdown != "-")

    def on_outcome(outcome: "Outcome") -> None:
        outcomes.append(outcome)
        progress.on_outcome(outcome)
        if arguments.json:
            print(msgspec.json.encode(outcome).decode(), flush=True)

    with SeriesProgress(arguments.repeat * len(probe.canaries)) as progress:
        return await run_series(
            runners.by_name,
            repeat=arguments.repeat,
            parallel=arguments.parallel,
            now=SystemClock().time,
            on_outcome=on_outcome,
            usd_limit=probe.budget.usd_per_day,
        )


async def _diagnose(probe: _Probe, name: str, *, as_json: bool, is_printed: bool) -> None:
    import msgspec

    from streamcanary.canary.preflight import diagnose
    from streamcanary.cli.commands.probing.probe_output import print_diagnosis
    from streamcanary.model.clock import SystemClock

    spec = probe.canaries[name]
    diagnosis = await diagnose(probe.targets[spec.target], spec.model, clock=SystemClock())
    if as_json:
        print(msgspec.json.encode({"canary": name, "diagnosis": diagnosis}).decode(), flush=True)
    elif is_printed:
        print_diagnosis(diagnosis)


def _evaluate(
    probe: _Probe,
    runners: "CanaryRunners",
    outcomes: "Sequence[Outcome]",
    kinds: "frozenset[OutcomeKind]",
    requirements: Sequence["Requirement"],
) -> "list[ProbedCanary]":
    """Sum up the runs of each canary, and find what fails the probe."""
    from streamcanary.cli.commands.probing.requirements import violations
    from streamcanary.cli.commands.probing.series_report import ProbedCanary
    from streamcanary.cli.measurements.run_statistics import RunStatistics

    statistics = {name: RunStatistics() for name in probe.canaries}
    for outcome in outcomes:
        statistics[outcome.canary].add(outcome)
    return [
        ProbedCanary(
            name=name,
            target=runners.by_name[name].canary.target,
            model=probe.canaries[name].model,
            statistics=each,
            violations=tuple(violations(each, kinds, requirements)),
        )
        for name, each in statistics.items()
    ]


def _note(arguments: argparse.Namespace, end: "SeriesEnd") -> str:
    at_once = f", {arguments.parallel} at once" if arguments.parallel > 1 else ""
    if end.is_interrupted:
        return f"{at_once}; interrupted"
    return f"{at_once}; stopped, because budget.usd_per_day is spent" if end.is_budget_spent else at_once


def _write_reports(
    canaries: "Sequence[ProbedCanary]",
    outcomes: "Sequence[Outcome]",
    arguments: argparse.Namespace,
    kinds: "frozenset[OutcomeKind]",
    note: str,
) -> None:
    """Print the summary and write the files that were asked for.

    Raises:
        UsageError: if a file cannot be written.
    """
    from streamcanary.cli.commands.probing import series_report
    from streamcanary.cli.commands.probing.junit import junit_document

    markdown = "\n".join([*series_report.markdown_lines(canaries, note), ""])
    if arguments.markdown == "-":
        sys.stdout.write(markdown)
    elif arguments.json:
        if _is_series(arguments) or arguments.require:
            series_report.print_json(canaries)
    elif _is_series(arguments):
        print("\n\n".join("\n".join(series_report.text_lines(canary, note)) for canary in canaries))
    else:
        series_report.print_violated_requirements(canaries, arguments.require)
    if arguments.markdown not in (None, "-"):
        _write(Path(arguments.markdown), markdown.encode())
    if arguments.junit is not None:
        texts = {canary.name: canary.violations for canary in canaries}
        _write(arguments.junit, junit_document(outcomes, texts, kinds))


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another file") from None
