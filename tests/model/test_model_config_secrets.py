"""The secrets of a configuration, as they are collected for redaction."""

from pathlib import Path

from pydantic import BaseModel

from streamcanary.model.config_types.config_secrets import ConfigSecrets
from streamcanary.model.config_types.secret import Secret


class _Inner(BaseModel):
    token: Secret
    ca_file: Path | None = None


class _Outer(BaseModel):
    inner: dict[str, _Inner]
    key_file: Path
    name: str = "name"


def test_secrets_at_any_depth_and_in_files_are_collected(tmp_path: Path) -> None:
    """Secrets in nested models and in files are collected, other values and certificates are not."""
    (tmp_path / "key").write_text("from-a-file\n")
    (tmp_path / "ca").write_text("a certificate")
    inner = {"a": _Inner(token=Secret("nested"), ca_file=tmp_path / "ca")}
    secrets = ConfigSecrets(_Outer(inner=inner, key_file=tmp_path / "key"))
    assert ("nested", "from-a-file") == secrets()
    assert (2, True, False) == (len(secrets), "nested" in secrets, "name" in secrets)


def test_the_former_value_of_a_file_is_still_redacted(tmp_path: Path) -> None:
    """After a rotation the former value counts as well, and after the removal of the file both do."""
    file = tmp_path / "key"
    file.write_text("first")
    secrets = ConfigSecrets(_Outer(inner={}, key_file=file))
    file.write_text("the second")
    assert ("the second", "first") == secrets()
    file.write_text("and the third")
    assert ("and the third", "the second") == secrets()
    file.unlink()
    assert ("and the third", "the second") == secrets()
