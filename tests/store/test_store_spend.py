"""What canaries spent, by day, on the disk."""

from pathlib import Path

from streamcanary.model.spend import Spend
from streamcanary.store.database import Store
from streamcanary.store.spend import MAX_DAYS
from support.store.builders import open_store

SPEND = Spend(input_tokens=7, output_tokens=5, input_usd=0.25, output_usd=0.125, requests=2)


async def test_what_was_spent_outlives_a_restart(path: Path) -> None:
    """Every number comes back as it was."""
    store = open_store(path)
    await store.save_spend({"2026-02-02": SPEND})
    await store.close()
    store = open_store(path)
    assert {"2026-02-02": SPEND} == await store.load_spend()
    await store.close()


async def test_a_sum_is_set_and_not_added(store: Store) -> None:
    """A write whose answer got lost may be made again; other days stay as they are."""
    await store.save_spend({"2026-02-02": SPEND, "2026-02-03": SPEND})
    for _ in range(2):
        await store.save_spend({"2026-02-03": SPEND + SPEND})
    assert {"2026-02-02": SPEND, "2026-02-03": SPEND + SPEND} == await store.load_spend()


async def test_old_days_are_forgotten(store: Store) -> None:
    """The account is bounded; the earliest days go."""
    await store.save_spend({f"{year:04}-01-01": SPEND for year in range(1000, 1000 + MAX_DAYS + 5)})
    days = sorted(await store.load_spend())
    assert (MAX_DAYS, "1005-01-01") == (len(days), days[0])


async def test_nothing_spent_is_nothing_saved(store: Store) -> None:
    """A new store has an empty account."""
    await store.save_spend({})
    assert {} == await store.load_spend()
