"""The command line of the scripts that make one page: write it, or say whether it is what it should be."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

__all__ = ["write_or_check"]


def write_or_check(page: Path, build: Callable[[], str], script: Path, description: str | None) -> None:
    """Write a page; with ``--check`` exit with a message where it is out of date."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    text = build()
    if parser.parse_args().check:
        is_current = page.is_file() and page.read_text(encoding="utf-8") == text
        sys.exit(0 if is_current else f"{page} is out of date. Run python docs/{script.name}.")
    page.write_text(text, encoding="utf-8")
