"""A student for others: as a repository of the Hugging Face hub with a model card, and back from there."""

from dropkd.sharing.card import Card, write_card
from dropkd.sharing.loading import LoadedNetwork, load
from dropkd.sharing.package import Package
from dropkd.sharing.pushing import Push, push_run

__all__ = ["Card", "LoadedNetwork", "Package", "Push", "load", "push_run", "write_card"]
