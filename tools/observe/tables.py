"""Draws panels of one number, and tables."""

from collections.abc import Iterator, Sequence
from typing import Any

from .prometheus_client import Series
from .svg import Box, colour, finite, fit, format_value, text, threshold_colour

Results = Sequence[tuple[dict[str, Any], list[Series]]]
_LINE = 20


def draw_number(panel: dict[str, Any], results: Results, box: Box, times: tuple[float, float]) -> Iterator[str]:
    """Draw the first value on a background of its threshold's colour."""
    defaults = panel["fieldConfig"]["defaults"]
    values = [value for _, found in results for series in found for _, value in finite(series.values)]
    if values:
        yield box.rect(fill=threshold_colour(values[0], defaults))
        shown = format_value(values[0], defaults["unit"])
        for mapping in defaults.get("mappings") or ():
            if mapping["type"] == "value" and (found := mapping["options"].get(f"{values[0]:g}")):
                shown = found["text"]
    else:
        shown = defaults.get("noValue", "no data")
        for mapping in defaults.get("mappings") or ():
            if mapping["type"] == "special":
                yield box.rect(fill=colour(mapping["options"]["result"]["color"]))
    size = 26 if len(shown) < 9 else 18
    yield text(
        box.left + box.width / 2, box.top + box.height / 2 + size / 3, shown, size=size, weight="bold", anchor="middle"
    )


def draw_rows(panel: dict[str, Any], results: Results, box: Box, times: tuple[float, float]) -> Iterator[str]:
    """Draw a row for each set of labels, and a column for each label and query."""
    organize = next(each["options"] for each in panel["transformations"] if each["id"] == "organize")
    renamed: dict[str, str] = organize["renameByName"]
    order = sorted(organize["indexByName"], key=lambda name: organize["indexByName"][name])
    labels = [name for name in order if not name.startswith("Value")]
    queried = [renamed[name] for name in order if name.startswith("Value")]
    rows: dict[tuple[str, ...], dict[str, float]] = {}
    for (_, found), column in zip(results, queried, strict=True):
        for series in found:
            key = tuple(series.labels.get(label, "") for label in labels)
            rows.setdefault(key, {})[column] = series.values[0][1]
    overrides = {each["matcher"]["options"]: each["properties"] for each in panel["fieldConfig"]["overrides"]}
    columns = [*(renamed[label] for label in labels), *queried]
    width = box.width / len(columns)
    for index, name in enumerate(columns):
        yield text(box.left + index * width, box.top + 12, fit(name, width), weight="bold")
    sort = panel["options"]["sortBy"][0]["displayName"]
    ordered = sorted(rows.items(), key=lambda row: -row[1].get(sort, -1.0))
    capacity = int((box.height - _LINE) / _LINE)
    for number, (key, values) in enumerate(ordered[:capacity]):
        y = box.top + (number + 1) * _LINE + 12
        for index, value in enumerate(key):
            yield text(box.left + index * width, y, fit(value, width))
        for index, column in enumerate(queried):
            if column in values:
                properties = {each["id"]: each["value"] for each in overrides.get(column, ())}
                fill = threshold_colour(values[column], properties) if "thresholds" in properties else "#24292e"
                shown = format_value(values[column], properties.get("unit", "short"))
                yield text(box.left + (len(labels) + index) * width, y, shown, fill=fill)
