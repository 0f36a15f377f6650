"""A report as Markdown."""

from collections.abc import Iterator

from streamcanary.cli.commands.history import report_text
from streamcanary.cli.commands.history.period_report import PeriodReport
from streamcanary.cli.markdown import markdown_table


def markdown_lines(report: PeriodReport) -> Iterator[str]:
    """Yield the report as Markdown."""
    yield f"# {report_text.title(report)}"
    yield ""
    yield report_text.summary(report)
    if report.canaries:
        yield ""
        yield from markdown_table(report_text.AVAILABILITY_HEAD, map(report_text.availability_row, report.canaries))
    sections = (
        ("Incidents", report_text.INCIDENT_HEAD, [report_text.incident_row(one) for one in report.incidents]),
        ("Percentiles", report_text.PERCENTILE_HEAD, report_text.percentile_rows(report)),
        ("Faults", report_text.FAULT_HEAD, report_text.fault_rows(report)),
    )
    for name, head, rows in sections:
        if rows:
            yield from ("", f"## {name}", "")
            yield from markdown_table(head, rows)
