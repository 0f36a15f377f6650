"""Writing a file as a whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from streamcanary.cli.first_config.atomic_write import write_atomically


def test_a_file_that_appears_meanwhile_is_kept(tmp_path):
    """Without ``overwrite`` the file of another process stays, and nothing else is left."""
    path = tmp_path / "c.yaml"
    path.write_text("theirs")
    with pytest.raises(FileExistsError):
        write_atomically(path, "ours", overwrite=False)
    assert ("theirs", [path]) == (path.read_text(), list(tmp_path.iterdir()))


def test_a_file_system_without_hard_links_will_do(tmp_path, monkeypatch):
    """Then the file is created directly, and one that exists is still kept."""

    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    path = tmp_path / "c.yaml"
    write_atomically(path, "ours", overwrite=False)
    assert ("ours", [path]) == (path.read_text(), list(tmp_path.iterdir()))
    with pytest.raises(FileExistsError):
        write_atomically(path, "again", overwrite=False)
    assert "ours" == path.read_text()


def test_an_error_leaves_the_old_file(tmp_path, monkeypatch):
    """If the file cannot be replaced, it stays as it was, and the temporary file is removed."""

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    path = tmp_path / "c.yaml"
    path.write_text("before")
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "after", overwrite=True)
    assert ("before", [path]) == (path.read_text(), list(tmp_path.iterdir()))


def test_an_overwritten_file_keeps_its_mode(tmp_path):
    """What only its owner may read stays so."""
    path = tmp_path / "c.yaml"
    path.write_text("before")
    path.chmod(0o640)
    write_atomically(path, "after", overwrite=True)
    assert ("after", 0o640) == (path.read_text(), stat.S_IMODE(path.stat().st_mode))


def test_an_overwritten_link_stays_a_link(tmp_path):
    """The file that it leads to is written, also if that does not exist yet."""
    (tmp_path / "real").mkdir()
    link = tmp_path / "c.yaml"
    link.symlink_to("real/c.yaml")
    for text in ("first", "second"):
        write_atomically(link, text, overwrite=True)
        assert (text, True) == ((tmp_path / "real/c.yaml").read_text(), link.is_symlink())


def test_what_is_not_a_regular_file_is_not_replaced(tmp_path):
    """A pipe stays a pipe, also behind a link; nothing is written."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        with pytest.raises(OSError, match="it is not a regular file"):
            write_atomically(path, "text", overwrite=True)
    assert (True, {pipe, link}) == (pipe.is_fifo(), set(tmp_path.iterdir()))
