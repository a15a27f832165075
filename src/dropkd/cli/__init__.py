"""The command line: parse, call the public API, print.

Exit codes: 0, 2 for the user's mistake, 1 for ours or where runs of a group failed, 128 plus the signal for a run
that was stopped.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

__all__ = ["main", "run_command_line"]


def main() -> None:
    """Run the command line that the process was started with and exit."""
    # Threads that spin while they wait take the cores away from each other where another program wants them too:
    # with two threads on two busy cores, a step of a small CNN took 0.7 to 1.5 s instead of 0.15 to 0.3 s.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(run_command_line())


def run_command_line(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Args:
        arguments: what follows ``dropkd``; None takes the process's own.
    """
    from dropkd.cli.app import app
    from dropkd.cli.failures import explain_bug, explain_interrupt, explain_mistake, explain_stop
    from dropkd.engine.signals import Interrupted
    from dropkd.errors import DropKDError
    from dropkd.extras import explain_missing

    try:
        app(args=arguments, prog_name="dropkd")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Interrupted as stop:
        return explain_stop(stop)
    except KeyboardInterrupt:
        return explain_interrupt()
    except DropKDError as error:
        return explain_mistake(error)
    except ModuleNotFoundError as error:
        missing = explain_missing(error)
        return explain_bug() if missing is None else explain_mistake(missing)
    except Exception:
        return explain_bug()
    return 0
