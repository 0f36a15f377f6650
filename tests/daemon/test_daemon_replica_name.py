"""The name and the address of a replica that names neither."""

import os
import socket
from pathlib import Path

import pytest

from streamcanary.app.replication import replica_address, replica_name
from streamcanary.settings import Settings, load

HOST = socket.gethostname()


def settings(folder: Path, **sections: str) -> Settings:
    """Return a configuration with these sections."""
    file = folder / "streamcanary.yaml"
    text = "targets: {sim: {base_url: http://127.0.0.1:1/v1, api_key: x}}\ncanaries: {c: {target: sim, model: m}}\n"
    file.write_text(text + "".join(f"{name}: {section}\n" for name, section in sections.items()))
    return load(file, {})


@pytest.mark.parametrize(
    ("web", "suffix", "address"),
    [
        ("{}", "", "127.0.0.1:9465"),
        ("{host: 0.0.0.0, token: 0123456789abcdef}", "", "HOST:9465"),
        ("{port: 9466}", ":9466", "127.0.0.1:9466"),
        ("{port: 0}", ":PID", ""),
        ("{enabled: false}", "", ""),
    ],
)
def test_the_name_is_that_of_the_host_and_differs_on_one_host(
    tmp_path: Path, web: str, suffix: str, address: str
) -> None:
    """Two replicas on one host have other ports, or other numbers of their processes, and so other names."""
    found, expected = settings(tmp_path, web=web), HOST + suffix.replace("PID", str(os.getpid()))
    assert (expected, address.replace("HOST", HOST)) == (replica_name(found), replica_address(found))


def test_a_name_of_the_configuration_counts(tmp_path: Path) -> None:
    """``store.replica`` is the name, whatever the host is called."""
    assert "pod-a" == replica_name(settings(tmp_path, store='{url: "postgresql://u@127.0.0.1/d", replica: pod-a}'))
