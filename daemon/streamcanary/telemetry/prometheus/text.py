"""Renders series in the text formats of Prometheus: the classic one (0.0.4) and OpenMetrics 1.0.

A scrape of 10,000 canaries has a hundred thousand lines, which never exist all at once. Labels are rendered by a
template for each set of names. The text of a histogram is kept, and rendered again when its values have changed.

https://prometheus.io/docs/instrumenting/exposition_formats/
https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md
"""

import json
import math
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Final, Literal

from streamcanary.model.prometheus_names import label_name, sample_name, unit_name
from streamcanary.telemetry.prometheus.exemplars import KeptExemplar
from streamcanary.telemetry.prometheus.labels import Labels
from streamcanary.telemetry.prometheus.series import Family, HistogramSeries, NumberSeries, Series

Format = Literal["classic", "openmetrics"]

CONTENT_TYPES: Final[Mapping[Format, str]] = {
    "classic": "text/plain; version=0.0.4; charset=utf-8",
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
}

_TEXT: Final = frozenset({str})
_ESCAPED: Final = re.compile('[\\\\\n"\0\ud800-\udfff]')
"""What cannot be in the value of a label as it is: see :func:`_label_value`."""

_TYPES: Final = {"counter": "counter", "updowncounter": "gauge", "gauge": "gauge", "histogram": "histogram"}


class _KeptTexts:
    """What is kept between scrapes, by the position of a series in ``family``, the list of the series of a family.

    ``versions`` and ``texts`` are those of histograms.
    """

    def __init__(self, family: list[Series]) -> None:
        self.family = family
        self.labels = array("q")  # hashes
        self.is_duplicate = bytearray()  # Prometheus takes one series of those with the same labels
        self.versions: list[int] = []
        self.texts: list[bytes] = []


class FamilyText:
    """The text of one family in one format. Each series has the ``constant`` attributes as labels, too.

    An attribute of its own with the same name takes their place.
    """

    def __init__(self, family: Family, text_format: Format, constant: Mapping[str, object]) -> None:
        self.name = sample_name(family.name, family.unit, family.kind)
        self._family = family
        self._labels = _LabelsTemplates(constant)
        self._has_exemplars = text_format == "openmetrics"
        self._header = _header(family, self.name, text_format).encode("utf-8", "replace")
        self._kept = _KeptTexts(family.series)

    def render(self) -> Iterator[bytes]:
        """Yield the current text in UTF-8, in pieces; nothing if the family has no value."""
        if self._kept.family is not self._family.series:  # series were removed
            self._kept = _KeptTexts(self._family.series)
        kept = self._kept  # another scrape at the same time may replace it
        series = kept.family[:]
        if len(series) > len(kept.is_duplicate):
            self._add(series[len(kept.is_duplicate) :], kept)
        header = self._header
        for number, each in enumerate(series):
            if kept.is_duplicate[number] or not each.is_shown:
                continue
            if header:
                yield header
                header = b""
            yield self._render_series(number, each, kept)

    def _add(self, new: Sequence[Series], kept: "_KeptTexts") -> None:
        known = set(kept.labels)
        for each in new:
            labels = hash(self._labels.format(each.labels))
            kept.is_duplicate.append(labels in known)
            known.add(labels)
            kept.labels.append(labels)

    def _render_series(self, number: int, series: Series, kept: "_KeptTexts") -> bytes:
        assert isinstance(series, NumberSeries)  # noqa: S101 - the others have a class of their own
        labels = self._labels.format(series.labels)
        exemplar = format_exemplar(series.exemplars.get(0)) if self._has_exemplars and series.exemplars else ""
        shown_labels = f"{{{labels}}}" if labels else ""
        return f"{self.name}{shown_labels} {format_number(series.value)}{exemplar}\n".encode()


class HistogramText(FamilyText):
    """The text of one histogram in one format; that of each series is kept between scrapes."""

    def __init__(self, family: Family, text_format: Format, constant: Mapping[str, object]) -> None:
        super().__init__(family, text_format, constant)
        self._template = _HistogramTemplate(self.name, family.bounds)

    def _add(self, new: Sequence[Series], kept: "_KeptTexts") -> None:
        super()._add(new, kept)
        kept.versions += [0] * len(new)  # a series without a value has version 0
        kept.texts += [b""] * len(new)

    def _render_series(self, number: int, series: Series, kept: "_KeptTexts") -> bytes:
        assert isinstance(series, HistogramSeries)  # noqa: S101 - the family is of this kind
        version = series.version  # before the values: a change meanwhile is seen by the next scrape
        if version != kept.versions[number]:
            kept.texts[number] = self._render_values(series)
            kept.versions[number] = version
        return kept.texts[number]

    def _render_values(self, series: HistogramSeries) -> bytes:
        counts, total = series.snapshot()
        values: list[int | str] = list(accumulate(counts))
        values += values[-1], format_number(total)
        if self._has_exemplars and series.exemplars is not None:
            for bucket, exemplar in series.exemplars.copy().items():
                values[bucket] = f"{values[bucket]}{exemplar.text or format_exemplar(exemplar)}"
        return self._template.of_values(self._labels.format(series.labels), tuple(values))


def family_text(family: Family, text_format: Format, constant: Mapping[str, object]) -> FamilyText:
    """Return the text of ``family``; see :class:`FamilyText`."""
    return (HistogramText if family.kind == "histogram" else FamilyText)(family, text_format, constant)


class _LabelsTemplates:
    """Renders labels, without braces, by a template for each set of attribute names; as :func:`format_labels` does."""

    def __init__(self, constant: Mapping[str, object]) -> None:
        self._constant = constant
        self._templates: dict[tuple[str, ...], str | None] = {}

    def format(self, labels: Labels) -> str:
        """Return ``labels`` and the constant ones."""
        names, *values = labels
        if names not in self._templates:
            self._templates[names] = self._template_of(names)
        template = self._templates[names]
        if template is None or not _TEXT.issuperset(map(type, values)) or _ESCAPED.search("".join(values)):
            return format_labels({**self._constant, **labels.attributes})
        return template % tuple(values)

    def _template_of(self, attributes: tuple[str, ...]) -> str | None:
        """Return the text with a ``%s`` for each value; ``None`` if names meet, or have another order as labels."""
        labels = [label_name(attribute) for attribute in attributes]
        places = dict.fromkeys(labels, "%s")
        constant = {label_name(name): _label_value(value).replace("%", "%%") for name, value in self._constant.items()}
        if labels != sorted(places) or not places.keys().isdisjoint(constant):
            return None
        return ",".join(f'{label}="{text}"' for label, text in sorted({**places, **constant}.items()))


class _HistogramTemplate:
    """The lines of a histogram for the ``%`` operator: a place for each bucket, then for the count and the sum."""

    def __init__(self, name: str, bounds: Iterable[float]) -> None:
        limits = [*map(format_number, bounds), "+Inf"]
        buckets = "".join(f'{name}_bucket{{\0,le="{limit}"}} %s\n' for limit in limits)
        self._lines = f"{buckets}{name}_count{{\0}} %s\n{name}_sum{{\0}} %s\n"

    def of_values(self, labels: str, values: tuple[int | str, ...]) -> bytes:
        """Return the lines with ``labels``; the value of a bucket may be a text, with its exemplar."""
        lines = self._lines % values
        if labels:
            return lines.replace("\0", labels).encode()
        return lines.replace("{\0}", "").replace("\0,", "").encode()


def _header(family: Family, name: str, text_format: Format) -> str:
    """Return the lines of metadata. OpenMetrics names the family of a counter without ``_total``."""
    family_name = name.removesuffix("_total") if text_format == "openmetrics" and family.kind == "counter" else name
    description = family.description.replace("\\", "\\\\").replace("\n", "\\n")
    lines = []
    if text_format == "openmetrics":
        description = description.replace('"', '\\"')
    if description:
        lines.append(f"# HELP {family_name} {description}\n")
    lines.append(f"# TYPE {family_name} {_TYPES[family.kind]}\n")
    unit = unit_name(family.unit, family.kind)
    if text_format == "openmetrics" and unit and family_name.endswith(f"_{unit}"):
        lines.append(f"# UNIT {family_name} {unit}\n")
    return "".join(lines)


def format_labels(attributes: Mapping[str, object]) -> str:
    """Return ``attributes`` as labels, without braces, in the order of their names.

    Different attributes whose names become the same label are joined by ``;``, as the specification asks.
    """
    values: dict[str, str] = {}
    for attribute, value in sorted(attributes.items()):
        name, text = label_name(attribute), _label_value(value)
        values[name] = f"{values[name]};{text}" if name in values else text
    return ",".join(f'{name}="{values[name]}"' for name in sorted(values))


def _label_value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = text.encode("utf-8", "replace").decode()  # without lone surrogates
    text = text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return text.replace("\0", "")  # the place of the labels in a template


def format_number(value: float) -> str:
    """Return a number as both formats write it."""
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def format_exemplar(exemplar: KeptExemplar | None) -> str:
    """Return an exemplar as it follows a value in OpenMetrics, with the ids of its trace and span."""
    if exemplar is None:
        return ""
    if not exemplar.text:
        ids = _span_labels(exemplar.trace_id, exemplar.span_id)
        exemplar.text = f" # {{{ids}}} {format_number(exemplar.value)} {exemplar.time / 1e9:.3f}"
    return exemplar.text


@lru_cache(1024)  # a run is the exemplar of some twenty series
def _span_labels(trace_id: int, span_id: int) -> str:
    return f'trace_id="{trace_id:032x}",span_id="{span_id:016x}"'


def target_info(attributes: Mapping[str, object], text_format: Format) -> str:
    """Return the metric ``target_info``, which has the attributes of the resource as labels."""
    name, kind = ("target", "info") if text_format == "openmetrics" else ("target_info", "gauge")
    labels = format_labels(attributes)
    return f"# HELP {name} Attributes of the resource\n# TYPE {name} {kind}\ntarget_info{{{labels}}} 1\n"


def accepted_format(accept: str) -> Format:
    """Return the format to answer with, by the header ``Accept``: OpenMetrics 1.0 only where it is preferred.

    Without the header, or if neither format is listed, the classic one.
    """
    quality = {"classic": 0.0, "openmetrics": 0.0}
    for part in accept[:2000].split(","):
        media_type, *parameters = (each.strip().lower() for each in part.split(";"))
        pairs = (parameter.partition("=") for parameter in parameters)
        values = {name: value.strip('"') for name, _, value in pairs}  # a value may be quoted (RFC 9110, 5.6.6)
        if media_type == "application/openmetrics-text" and values.get("version", "1.0.0") in ("1.0.0", "0.0.1"):
            found = "openmetrics"
        elif media_type in ("text/plain", "text/*", "*/*"):
            found = "classic"
        else:
            continue
        quality[found] = max(quality[found], _quality(values.get("q", "1")))
    return "openmetrics" if quality["openmetrics"] > quality["classic"] else "classic"


def _quality(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0.0 <= value <= 1.0 else 0.0


def join_pieces(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield ``pieces`` in parts of at least ``size`` bytes, but for the last one."""
    waiting: list[bytes] = []
    length = 0
    for piece in pieces:
        waiting.append(piece)
        length += len(piece)
        if length >= size:
            yield b"".join(waiting)
            waiting.clear()
            length = 0
    if length:
        yield b"".join(waiting)
