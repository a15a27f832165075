"""An observer that remembers what it was told."""

from __future__ import annotations

from dropkd.engine.observer import Observer

__all__ = ["Listener"]


class Listener(Observer):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.warnings: list[str] = []

    def on_message(self, text: str) -> None:
        self.messages.append(text)

    def on_warning(self, text: str) -> None:
        self.warnings.append(text)
