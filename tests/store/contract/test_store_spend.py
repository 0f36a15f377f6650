"""The spend of canaries by day in the store."""

from streamcanary.model.spend import Spend
from streamcanary.store.database import Store
from streamcanary.store.tables.spend import MAX_DAYS
from support.store.databases import Database

SPEND = Spend(input_tokens=7, output_tokens=5, input_usd=0.25, output_usd=0.125, requests=2)


async def test_spend_survives_a_restart(database: Database) -> None:
    """A reopened store returns the saved spend unchanged."""
    store = database.open()
    await store.save_spend({"2026-02-02": SPEND})
    await store.close()
    store = database.open()
    assert {"2026-02-02": SPEND} == await store.load_spend()
    await store.close()


async def test_a_total_is_set_and_not_added(store: Store) -> None:
    """Saving a day twice sets its total once, and other days stay unchanged."""
    await store.save_spend({"2026-02-02": SPEND, "2026-02-03": SPEND})
    for _ in range(2):
        await store.save_spend({"2026-02-03": SPEND + SPEND})
    assert {"2026-02-02": SPEND, "2026-02-03": SPEND + SPEND} == await store.load_spend()


async def test_old_days_are_deleted(store: Store) -> None:
    """The number of days is bounded; the earliest days are deleted."""
    await store.save_spend({f"{year:04}-01-01": SPEND for year in range(1000, 1000 + MAX_DAYS + 5)})
    days = sorted(await store.load_spend())
    assert (MAX_DAYS, "1005-01-01") == (len(days), days[0])


async def test_a_new_store_has_no_spend(store: Store) -> None:
    """Saving no days leaves the spend of a new store empty."""
    await store.save_spend({})
    assert {} == await store.load_spend()
