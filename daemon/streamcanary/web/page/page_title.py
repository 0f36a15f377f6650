"""The title of a page, which carries the state: it is what a tab shows."""

from streamcanary.model.status.summary import StatusSummary
from streamcanary.web.page.text_format import clean, count


def page_title(summary: StatusSummary, subject: str = "") -> str:
    """Return the title: ``✗ 6 failing · streamcanary``."""
    failing, slow = summary.counts.get("failing", 0), summary.counts.get("slow", 0)
    degraded = summary.counts.get("degraded", 0)
    if failing:
        state = f"✗ {count(failing)} failing"
    elif summary.firing:
        state = f"! {count(summary.firing)} firing"
    elif degraded or slow:
        state = f"◆ {count(degraded)} degraded" if degraded else f"▲ {count(slow)} slow"
    else:
        state = "✓ all well" if summary.state == "ok" else "… no data yet"
    parts = [state, clean(subject, 80), "streamcanary"]
    return " · ".join(part for part in parts if part)
