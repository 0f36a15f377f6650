"""Print what the changelog says about the version in ``pyproject.toml``: the notes of its release.

``python -m tools.release.notes`` exits with 1 if the changelog has no such section.
"""

import sys
from pathlib import Path

from .version import project_version, section_text

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Return 0 if there are notes."""
    version = project_version((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    notes = section_text((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    if not notes:
        sys.stderr.write(f"CHANGELOG.md: version {version} has no entries\n")
        return 1
    sys.stdout.write(f"{notes}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
