"""Texts and states as a terminal shows them: nothing in them is obeyed by it."""

from __future__ import annotations

from dropkd.watching.states import State

__all__ = ["BAR", "ascii_text", "plain_text", "state_style"]

# The width of a bar of progress.
BAR = 24
_STYLES = {
    State.FINISHED: "bold green", State.FAILED: "bold red", State.STOPPED: "bold red",
    State.INTERRUPTED: "bold yellow", State.WAITING: "dim",
}  # fmt: skip
_IN_ASCII = {0xA0: " ", 0x2212: "-", 0x2013: "-", 0x2026: "~", 0x2019: "'"}


def plain_text(text: str) -> str:
    """Return a text with a mark for each character that a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\u00a0" else "\N{REPLACEMENT CHARACTER}" for c in text)


def ascii_text(text: str) -> str:
    """Return a text for a terminal that knows no other characters than ASCII's."""
    return text.translate(_IN_ASCII).encode("ascii", "replace").decode()


def state_style(state: State) -> str:
    """Return the style in which a state is written."""
    return _STYLES.get(state, "bold cyan")
