"""LLM calls of any instrumentation that follows the GenAI conventions of OpenTelemetry, and nothing else.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/
"""

from typing import Final

from streamcanary.model import names

from .board import Board, Variable
from .metrics import RANGE, RATE, heat, mean, quantile, rate, share
from .panels import (
    SHARE_OF_FAILURES,
    SHARE_OF_SUCCESSES,
    heat_map,
    lines,
    number,
    query,
    row,
    rows,
    stacked_areas,
)

_SELECTOR: Final = ", ".join(
    f'{label}=~"${variable}"'
    for label, variable in {
        "job": "job",
        "gen_ai_provider_name": "provider",
        "gen_ai_request_model": "model",
        "gen_ai_operation_name": "operation",
    }.items()
)
_MODEL: Final = "gen_ai_request_model"
_PROVIDER: Final = "gen_ai_provider_name"
_GROUP: Final = f"{_PROVIDER}, {_MODEL}"
_LEGEND: Final = f"{{{{{_MODEL}}}}}"
_CALLS: Final = names.OPERATION_DURATION
_FAILED: Final = 'error_type!=""'


def _calls(by: str, matchers: str = "", within: str = RATE) -> str:
    """Return the calls a second by the labels ``by``."""
    return rate(_CALLS, by, matchers, selector=_SELECTOR, suffix="_count", within=within)


def _failing(by: str, within: str = RATE) -> str:
    """Return the part of the calls that failed."""
    return share(_calls(by, _FAILED, within), _calls(by, within=within))


_NOW = (
    number("Calls a second", "LLM calls that ended.", _calls("")),
    number(
        "Successful calls",
        "Part of the calls in the time range without `error.type`.",
        f"1 - {_failing('', RANGE)}",
        unit="percentunit",
        steps=SHARE_OF_SUCCESSES,
    ),
    number(
        "Duration, 95 %",
        "95 % of the calls in the time range took at most this time.",
        quantile(0.95, _CALLS, within=RANGE, selector=_SELECTOR),
        unit="s",
        none="none",
    ),
    number(
        "First chunk, 95 %",
        "95 % of the streamed calls in the time range had their first chunk within this time.",
        quantile(0.95, names.TIME_TO_FIRST_CHUNK, within=RANGE, selector=_SELECTOR),
        unit="s",
        none="not recorded",
    ),
    number(
        "Input tokens a second",
        "Tokens of requests.",
        rate(names.TOKEN_USAGE, "", 'gen_ai_token_type="input"', selector=_SELECTOR, suffix="_sum"),
        none="none",
    ),
    number(
        "Output tokens a second",
        "Tokens of answers.",
        rate(names.TOKEN_USAGE, "", 'gen_ai_token_type="output"', selector=_SELECTOR, suffix="_sum"),
        none="none",
    ),
)
_CALL_PANELS = (
    stacked_areas(
        "Calls by model", "Calls a second, by the requested model.", query(_calls(_MODEL), _LEGEND), unit="reqps"
    ),
    lines(
        "Failed calls by model",
        "Part of the calls with `error.type`, by the requested model.",
        query(_failing(_MODEL), _LEGEND),
        unit="percentunit",
        steps=SHARE_OF_FAILURES,
        highest=1,
    ),
    stacked_areas(
        "Failed calls by error",
        "Failed calls a second, by `error.type`.",
        query(_calls("error_type", _FAILED), "{{error_type}}", exemplar=True),
        unit="reqps",
    ),
    lines(
        "Failed calls by server",
        "Part of the calls with `error.type`, by the address of the server.",
        query(_failing("server_address, server_port"), "{{server_address}}:{{server_port}}"),
        unit="percentunit",
        steps=SHARE_OF_FAILURES,
        highest=1,
    ),
    rows(
        "Models",
        "One row for each provider and requested model, over the time range.",
        {
            "Failed": (row(_failing(_GROUP, RANGE)), "percentunit", SHARE_OF_FAILURES),
            "Calls a second": (row(_calls(_GROUP, within=RANGE)), "reqps", None),
            "Duration, 95 %": (row(quantile(0.95, _CALLS, _GROUP, within=RANGE, selector=_SELECTOR)), "s", None),
        },
        labels=(_PROVIDER, _MODEL),
        sort="Failed",
        width=12,
    ),
    rows(
        "Models that answered",
        "Which model answered, by the requested one: an alias, or a fallback.",
        {
            "Calls a second": (
                row(_calls(f"{_MODEL}, gen_ai_response_model", 'gen_ai_response_model!=""', RANGE)),
                "reqps",
                None,
            )
        },
        labels=(_MODEL, "gen_ai_response_model"),
        sort="Calls a second",
        width=12,
    ),
)
_TIME = (
    heat_map(
        "Duration",
        "Time of calls, with all their retries. A dot is a call with a trace.",
        query(heat(_CALLS, selector=_SELECTOR), exemplar=True),
    ),
    lines(
        "Duration by model",
        "Time of calls, with all their retries. Exemplars link to traces.",
        query(quantile(0.5, _CALLS, _MODEL, selector=_SELECTOR), f"{_LEGEND}, median"),
        query(quantile(0.95, _CALLS, _MODEL, selector=_SELECTOR), f"{_LEGEND}, 95 %", exemplar=True),
        unit="s",
    ),
    heat_map(
        "First chunk",
        "Time to the first chunk of streamed calls. A dot is a call with a trace.",
        query(heat(names.TIME_TO_FIRST_CHUNK, selector=_SELECTOR), exemplar=True),
    ),
    lines(
        "First chunk by model",
        "Time to the first chunk of streamed calls. Exemplars link to traces.",
        query(quantile(0.5, names.TIME_TO_FIRST_CHUNK, _MODEL, selector=_SELECTOR), f"{_LEGEND}, median"),
        query(quantile(0.95, names.TIME_TO_FIRST_CHUNK, _MODEL, selector=_SELECTOR), f"{_LEGEND}, 95 %", exemplar=True),
        unit="s",
    ),
    lines(
        "Time between chunks",
        "Time between two chunks of an answer. Some instrumentations record it only on request: the client of "
        "streamcanary with `time_per_chunk=True`.",
        query(quantile(0.5, names.TIME_PER_OUTPUT_CHUNK, _MODEL, selector=_SELECTOR), f"{_LEGEND}, median"),
        query(quantile(0.95, names.TIME_PER_OUTPUT_CHUNK, _MODEL, selector=_SELECTOR), f"{_LEGEND}, 95 %"),
        unit="s",
        width=24,
    ),
)
_TOKENS = (
    stacked_areas(
        "Tokens by type",
        "Tokens a second.",
        query(rate(names.TOKEN_USAGE, "gen_ai_token_type", selector=_SELECTOR, suffix="_sum"), "{{gen_ai_token_type}}"),
        unit="tok/s",
    ),
    stacked_areas(
        "Tokens by model",
        "Tokens a second, by the requested model.",
        query(rate(names.TOKEN_USAGE, _MODEL, selector=_SELECTOR, suffix="_sum"), _LEGEND),
        unit="tok/s",
    ),
    lines(
        "Tokens of a call",
        "Mean number of tokens of a call.",
        query(
            mean(names.TOKEN_USAGE, f"{_MODEL}, gen_ai_token_type", selector=_SELECTOR),
            f"{_LEGEND}, {{{{gen_ai_token_type}}}}",
        ),
    ),
    lines(
        "Tokens of a call, 95 %",
        "95 % of the calls had at most this number of tokens.",
        query(
            quantile(0.95, names.TOKEN_USAGE, f"{_MODEL}, gen_ai_token_type", selector=_SELECTOR),
            f"{_LEGEND}, {{{{gen_ai_token_type}}}}",
        ),
    ),
)
BOARD = Board(
    name="genai",
    title="LLM calls (GenAI conventions)",
    description="LLM calls of any instrumentation with the metrics of OpenTelemetry's GenAI conventions: the client of "
    "streamcanary, or another one.",
    variables=(
        Variable(name="job", label="Job", source="job", metric=_CALLS, is_histogram=True),
        Variable(name="provider", label="Provider", source=_PROVIDER, metric=_CALLS, is_histogram=True),
        Variable(name="model", label="Model", source=_MODEL, metric=_CALLS, is_histogram=True),
        Variable(name="operation", label="Operation", source="gen_ai_operation_name", metric=_CALLS, is_histogram=True),
    ),
    rows=(("Now", _NOW), ("Calls", _CALL_PANELS), ("Time", _TIME), ("Tokens", _TOKENS)),
    sample_interval="1m",  # the default of SDKs: OTEL_METRIC_EXPORT_INTERVAL
)
