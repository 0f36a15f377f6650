"""The order of the tests: those that take long begin first, so that nobody waits for them in the end."""

import os

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put each test that asks for more time than usual to the front of the share of one worker.

    pytest-xdist deals the tests out in slices of equal length, and only what waits in a slice can go to another worker.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = [item for item in items if item.get_closest_marker("timeout")]
    items[:] = [item for item in items if not item.get_closest_marker("timeout")]
    share = (len(items) + len(long)) / workers
    for number, item in enumerate(long):
        items.insert(round(number % workers * share), item)
