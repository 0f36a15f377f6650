"""When the configuration file is loaded: at a change that stays, and again while it is invalid."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from streamcanary.reload.config_file import RETRY_INTERVAL, ChangeDetector, read_fingerprint


def test_the_content_must_be_the_same_at_two_polls() -> None:
    """A file that is being written is left alone until it stays as it is."""
    detector = ChangeDetector("a")
    polls = ["a", "b", "c", "c"]
    assert [False, False, False, True] == [detector.poll(content, 0.0) for content in polls]


def test_a_file_that_is_back_is_not_loaded() -> None:
    """A change that is undone before it stays is no change."""
    detector = ChangeDetector("a")
    assert [False, False, False] == [detector.poll(content, 0.0) for content in ("b", "a", "a")]


def test_a_loaded_file_is_not_loaded_again() -> None:
    """After a load, only another content counts."""
    detector = ChangeDetector("a")
    detector.record_loaded("b", 0.0, is_valid=True)
    assert [False, False] == [detector.poll("b", now) for now in (0.0, 10 * RETRY_INTERVAL)]


def test_an_invalid_file_is_loaded_again_after_some_time() -> None:
    """It may be valid later, because of a file that it refers to."""
    detector = ChangeDetector("a")
    detector.record_loaded("b", 0.0, is_valid=False)
    times = [1.0, RETRY_INTERVAL - 1, RETRY_INTERVAL]
    assert [False, False, True] == [detector.poll("b", now) for now in times]


@given(st.lists(st.sampled_from("abc"), max_size=20))
def test_the_last_content_is_always_loaded_in_the_end(contents: list[str]) -> None:
    """Whatever happened before, a content that stays is loaded, once."""
    detector, loaded = ChangeDetector("a"), "a"
    for content in contents:
        if detector.poll(content, 0.0):
            detector.record_loaded(content, 0.0, is_valid=True)
            loaded = content
    loads = 0
    for _ in range(4):
        if detector.poll("b", 0.0):
            detector.record_loaded("b", 0.0, is_valid=True)
            loads += 1
    assert (loaded != "b") == bool(loads)
    assert loads <= 1


def test_a_file_that_cannot_be_read_has_a_fingerprint(tmp_path: Path) -> None:
    """A missing file, a folder and a file without end are states of their own, not errors."""
    (tmp_path / "folder").mkdir()
    assert "unreadable: " in read_fingerprint(tmp_path / "missing")
    assert "is a directory" in read_fingerprint(tmp_path / "folder")
    assert "not a regular file" in read_fingerprint(Path("/dev/zero"))


def test_the_fingerprint_is_the_sha_256(tmp_path: Path) -> None:
    """It can be compared with ``sha256sum``."""
    (tmp_path / "a").write_text("a")
    assert "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb" == read_fingerprint(tmp_path / "a")
