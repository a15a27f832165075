"""The environment in which the other libraries run: torch and timm as they are here, torchdistill beside them."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import dropkd

__all__ = ["Environment", "NotToBeHadError", "make_environment"]

# A hung index must not hang the benchmark.
_SECONDS = 300


class NotToBeHadError(Exception):
    """A library can't be had; the text says why."""


class Environment:
    """Python with the libraries of all sides.

    Args:
        folder: the virtual environment.
    """

    def __init__(self, folder: Path) -> None:
        self.python = folder / "bin" / "python"
        self.site = Path(sysconfig.get_path("purelib", "venv", vars={"base": str(folder), "platbase": str(folder)}))

    @property
    def variables(self) -> dict[str, str]:
        """What the sides need to be told: where dropkd is, which may be a checkout, and one thread."""
        return {"PYTHONPATH": str(Path(dropkd.__file__).parents[1]), "OMP_NUM_THREADS": "1"}

    def version(self, library: str) -> str | None:
        """Return the version of a library, None where it isn't there."""
        code = f"from importlib.metadata import version; print(version({library!r}))"
        done = subprocess.run([self.python, "-c", code], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    def install(self, library: str) -> None:
        """Install a library and what it needs and isn't there yet.

        Raises:
            NotToBeHadError: it can't be had.
        """
        command = [sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet", library]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            raise NotToBeHadError(f"pip did not end within {_SECONDS} seconds") from None
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
            raise NotToBeHadError(lines[-1])


def make_environment(folder: Path) -> Environment:
    """Return a virtual environment that also sees the libraries of this one; one that is there already is taken."""
    environment = Environment(folder)
    if not environment.python.exists():
        venv.create(folder, with_pip=False, symlinks=True)
    outer = sysconfig.get_path("purelib")
    # Its own libraries come first, so nothing of the outer environment is ever changed or shadowed by it elsewhere.
    (environment.site / "outer.pth").write_text(f"{outer}\n")
    return environment
