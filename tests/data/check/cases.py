"""What the tests ask of a check."""

from __future__ import annotations

from pathlib import Path

from dropkd.data.check import DataCheck, Finding


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def expect(check: DataCheck, kind: str, level: str) -> Finding:
    """Return the finding of a kind, which must be there, and as grave as it should be."""
    found = check.find(kind)
    assert found is not None, [finding.kind for finding in check.findings]
    assert found.level == level
    return found


def paths_of(finding: Finding) -> list[list[str]]:
    """Return the paths of each case."""
    return [sorted(image.path for image in item.images) for item in finding.items]
