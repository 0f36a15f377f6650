"""Queries Prometheus over its HTTP API, without a dependency."""

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from msgspec import Struct

_TIMEOUT = 30.0  # seconds for one query


class Series(Struct, frozen=True):
    """A series of a result: its labels, and its values with the times of the samples in seconds since the epoch."""

    labels: dict[str, str]
    values: list[tuple[float, float]]


class QueryFailed(Exception):
    """Prometheus rejected a query, or did not answer; the message says why."""


def query(url: str, expr: str, at: float) -> list[Series]:
    """Return the result of ``expr`` at the time ``at``.

    Raises:
        QueryFailed: if the query is invalid, or fails.
    """
    data = _get(url, "query", query=expr, time=f"{at:.3f}")
    if data["resultType"] == "scalar":
        return [Series({}, [_sample(data["result"])])]
    return [Series(each["metric"], [_sample(each["value"])]) for each in data["result"]]


def query_range(url: str, expr: str, *, start: float, end: float, step: float) -> list[Series]:
    """Return the results of ``expr`` from ``start`` to ``end``, every ``step`` seconds.

    Raises:
        QueryFailed: if the query is invalid, or fails.
    """
    data = _get(url, "query_range", query=expr, start=f"{start:.3f}", end=f"{end:.3f}", step=f"{step:g}")
    return [Series(each["metric"], [_sample(value) for value in each["values"]]) for each in data["result"]]


def exemplars(url: str, expr: str, *, start: float, end: float) -> list[dict[str, Any]]:
    """Return the exemplars of the series that ``expr`` selects: their labels, value and timestamp.

    Raises:
        QueryFailed: if the query is invalid, or fails.
    """
    data = _get(url, "query_exemplars", query=expr, start=f"{start:.3f}", end=f"{end:.3f}")
    return [exemplar for series in data for exemplar in series["exemplars"]]


def rule_groups(url: str) -> list[dict[str, Any]]:
    """Return the rule groups with the state of each rule.

    Raises:
        QueryFailed: if the request fails.
    """
    groups: list[dict[str, Any]] = _get(url, "rules")["groups"]
    return groups


def label_values(url: str, label: str, selector: str) -> list[str]:
    """Return the values of ``label`` of the series that ``selector`` selects.

    Raises:
        QueryFailed: if the request fails.
    """
    values: list[str] = _get(url, f"label/{label}/values", **{"match[]": selector})
    return values


def _get(url: str, path: str, **parameters: str) -> Any:
    address = f"{url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback: no proxy of the environment
    try:
        with opener.open(address, timeout=_TIMEOUT) as response:
            content = json.load(response)
    except urllib.error.HTTPError as error:
        raise QueryFailed(f"{parameters.get('query', path)}: {error.read(2000).decode(errors='replace')}") from None
    except OSError as error:
        raise QueryFailed(f"{address}: {error}") from None
    return content["data"]


def _sample(raw: Any) -> tuple[float, float]:
    return float(raw[0]), float(raw[1])
