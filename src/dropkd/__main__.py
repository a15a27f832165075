"""``python -m dropkd`` is ``dropkd``."""

from __future__ import annotations

from dropkd.cli import main

if __name__ == "__main__":
    main()
