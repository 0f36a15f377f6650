"""A report as one HTML file that needs nothing else: no script, no font, no request."""

from collections.abc import Iterable, Sequence
from xml.etree import ElementTree as ET

from streamcanary.cli.commands.history import report_text
from streamcanary.cli.commands.history.period_report import CanaryReport, PeriodReport

_STYLE = """
:root { color-scheme: light dark; --paper: #faf9f7; --ink: #23262b; --line: #d9d6d0; --ok: #1f7a6a; --bad: #b3362b; --none: #b9b6b0 }
@media (prefers-color-scheme: dark) { :root { --paper: #14161a; --ink: #e6e3de; --line: #363a41; --ok: #4fb8a3; --bad: #ef7d70; --none: #5b6068 } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top }
td { overflow-wrap: anywhere } .wide { overflow-x: auto }
.ok { fill: var(--ok) } .bad { fill: var(--bad) } .none { fill: none; stroke: var(--none) }
"""  # noqa: E501 - CSS
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_CELL, _HEIGHT = 9, 22  # pixels of a day in the strip


def html_document(report: PeriodReport) -> bytes:
    """Return the report as HTML; all texts are escaped."""
    root = ET.Element("html", lang="en")
    head, body = ET.SubElement(root, "head"), ET.SubElement(root, "body")
    ET.SubElement(head, "meta", charset="utf-8")
    ET.SubElement(head, "meta", {"http-equiv": "Content-Security-Policy", "content": _POLICY})
    ET.SubElement(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    ET.SubElement(head, "title").text = report_text.title(report)
    ET.SubElement(head, "style").text = _STYLE
    ET.SubElement(body, "h1").text = report_text.title(report)
    ET.SubElement(body, "p").text = report_text.summary(report)
    if report.canaries:
        rows = _add_table(
            body, (*report_text.AVAILABILITY_HEAD, "By day"), map(report_text.availability_row, report.canaries)
        )
        for row, canary in zip(rows, report.canaries, strict=True):
            _add_strip(ET.SubElement(row, "td"), canary)
    sections = (
        ("Incidents", report_text.INCIDENT_HEAD, [report_text.incident_row(one) for one in report.incidents]),
        ("Percentiles", report_text.PERCENTILE_HEAD, report_text.percentile_rows(report)),
        ("Faults", report_text.FAULT_HEAD, report_text.fault_rows(report)),
    )
    for name, columns, texts in sections:
        if texts:
            ET.SubElement(body, "h2").text = name
            _add_table(body, columns, texts)
    document: bytes = ET.tostring(root, encoding="utf-8", method="html")
    return b"<!DOCTYPE html>\n" + document + b"\n"


def _add_table(parent: ET.Element, head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[ET.Element]:
    """Add a table, and return its rows."""
    table = ET.SubElement(ET.SubElement(parent, "div", {"class": "wide"}), "table")
    top = ET.SubElement(ET.SubElement(table, "thead"), "tr")
    for name in head:
        ET.SubElement(top, "th", scope="col").text = name
    body, added = ET.SubElement(table, "tbody"), []
    for row in rows:
        added.append(ET.SubElement(body, "tr"))
        for text in row:
            ET.SubElement(added[-1], "td", dir="auto").text = text
    return added


def _add_strip(parent: ET.Element, canary: CanaryReport) -> None:
    """Add a bar for each day: as high as its part of failed runs, at least a little."""
    width = str(_CELL * len(canary.days))
    days = [
        f"{report_text.format_time(day.started)[:10]} {report_text.format_rate(day.availability)}"
        for day in canary.days
    ]
    svg = ET.SubElement(
        parent, "svg", {"width": width, "height": str(_HEIGHT), "role": "img", "aria-label": "; ".join(days)}
    )
    for number, (day, text) in enumerate(zip(canary.days, days, strict=True)):
        kind = "none" if day.availability is None else "ok" if day.availability == 1 else "bad"
        height = 8 if day.availability is None else round(8 + (1 - day.availability) * (_HEIGHT - 9))
        place = {"x": f"{number * _CELL + 0.5}", "y": f"{_HEIGHT - height - 0.5}"}
        bar = ET.SubElement(svg, "rect", {"class": kind, "width": str(_CELL - 2), "height": str(height), **place})
        ET.SubElement(bar, "title").text = text
