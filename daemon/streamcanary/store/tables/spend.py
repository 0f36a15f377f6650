"""The spend of canaries, by UTC day."""

from collections.abc import Mapping
from datetime import date
from typing import Final

from streamcanary.model.spend import Spend
from streamcanary.store.connection import Connection
from streamcanary.store.tables.damaged_rows import DamagedRows

MAX_DAYS: Final = 400
"""Days that are kept, the latest by date."""

_LIMITS: Final = (1e15, 1e15, 1e9, 1e9, 1e12)  # tokens, tokens, USD, USD, requests: no daemon reaches them in a day


def save_spend(connection: Connection, days: Mapping[str, Spend]) -> None:
    """Set the totals of ``days`` (``2026-02-02``), and delete the oldest days beyond :data:`MAX_DAYS`.

    The call is idempotent.

    Raises:
        sqlite3.Error, psycopg.Error: if the totals cannot be written.
    """
    connection.executemany(
        "INSERT INTO spend (day, input_tokens, output_tokens, input_usd, output_usd, requests)"
        " VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (day) DO UPDATE SET input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens,"
        " input_usd = excluded.input_usd, output_usd = excluded.output_usd, requests = excluded.requests",
        [
            (day, spend.input_tokens, spend.output_tokens, spend.input_usd, spend.output_usd, spend.requests)
            for day, spend in days.items()
        ],
    )
    connection.execute(
        "DELETE FROM spend WHERE day NOT IN (SELECT day FROM spend ORDER BY day DESC LIMIT ?)", (MAX_DAYS,)
    )


def load_spend(connection: Connection) -> dict[str, Spend]:
    """Return the totals by day. A damaged row is logged and left out: that day counts as without spend.

    Raises:
        sqlite3.Error, psycopg.Error: if they cannot be read.
    """
    rows = connection.execute("SELECT day, input_tokens, output_tokens, input_usd, output_usd, requests FROM spend")
    days: dict[str, Spend] = {}
    damaged = DamagedRows("spend")
    for day, *values in rows:
        if not isinstance(day, str) or not _is_day(day):
            damaged.add(day, "its key is not a day")
        elif any(_is_invalid(value, limit) for value, limit in zip(values, _LIMITS, strict=True)):
            damaged.add(day, "a value is missing, not a number, or out of range")
        else:
            input_tokens, output_tokens, input_usd, output_usd, requests = values
            days[day] = Spend(
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                input_usd=input_usd,
                output_usd=output_usd,
                requests=requests,
            )
    damaged.log()
    return days


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _is_invalid(value: object, limit: float) -> bool:
    return not isinstance(value, (int, float)) or not 0 <= value <= limit
