"""A small run of the daemon part of the soak, which judges no memory: everything happens that it is about."""

import pytest

from support.soak.daemon_day import EFFECTS, Day, run_day


@pytest.mark.timeout(200)
async def test_day_of_a_daemon_has_everything_that_happens_in_one() -> None:
    """Runs fail, alerts fire and resolve, pages are read, the configuration is reloaded, runs are pruned."""
    figures = await run_day(Day(runs=2_000, minutes=2.0, canaries=20))

    assert [] == figures.problems
    assert [] == [effect for effect in EFFECTS if not figures.counts[effect]]
    assert figures.counts["runs"] == figures.samples[-1].runs
