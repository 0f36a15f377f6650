"""The spend of canaries, by UTC day."""

import sqlite3
from collections.abc import Mapping
from typing import Final

from streamcanary.model.spend import Spend

MAX_DAYS: Final = 400
"""Days that are kept, the latest by date."""


def save_spend(connection: sqlite3.Connection, days: Mapping[str, Spend]) -> None:
    """Set the totals of ``days`` (``2026-02-02``), and delete the oldest days beyond :data:`MAX_DAYS`.

    The call is idempotent.

    Raises:
        sqlite3.Error: if the totals cannot be written.
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


def load_spend(connection: sqlite3.Connection) -> dict[str, Spend]:
    """Return the totals by day.

    Raises:
        sqlite3.Error: if they cannot be read.
    """
    rows = connection.execute("SELECT day, input_tokens, output_tokens, input_usd, output_usd, requests FROM spend")
    return {
        day: Spend(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            input_usd=input_usd,
            output_usd=output_usd,
            requests=requests,
        )
        for day, input_tokens, output_tokens, input_usd, output_usd, requests in rows
    }
