"""A model that changes while the daemon is stopped."""

from pathlib import Path
from typing import Any

from streamcanary.simulator import Simulator
from support.programs.daemon import Daemon
from support.servers.simulator import FAST_TIMINGS

MODEL = "sim-other-model@1"  # the first answer is of another model


async def test_a_model_that_changes_between_two_starts_is_logged(tmp_path: Path) -> None:
    """The first run after a restart is compared with the last answer in the store."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        config: dict[str, Any] = {
            "targets": {"sim": {"base_url": simulator.base_url, "api_key": "none"}},
            "canaries": {"chat": {"target": "sim", "model": MODEL, "every": "600s"}},
        }
        for _ in range(2):
            async with Daemon(tmp_path / "daemon", config) as daemon:
                await daemon.wait_for_log("run finished", canary="chat", outcome="ok")
                assert 0 == (await daemon.terminate()).code
    [line] = daemon.log_lines("model changed")
    assert (f"{MODEL}-other", MODEL) == (line["previous"], line["current"])
