"""The chart of an application with the sidecar, made once."""

from pathlib import Path

import pytest

from support.programs.sidecar_chart import application_chart


@pytest.fixture(scope="session")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the chart of an application that depends on the library chart."""
    return application_chart(tmp_path_factory.mktemp("application"))
