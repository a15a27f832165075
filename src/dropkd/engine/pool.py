"""The unlabelled images of a run: opened, told of, and written down."""

from __future__ import annotations

from functools import partial
from typing import Any

from dropkd.config import Config
from dropkd.data import ImageData, MixedLoader, TrainLoader, UnlabelledImages, open_unlabelled
from dropkd.data.wording import count_of
from dropkd.engine.job import Job
from dropkd.engine.observer import Observer
from dropkd.engine.packing import choose_remembering

__all__ = ["describe_steps", "open_pool", "record_pool"]


def open_pool(config: Config, data: ImageData, observer: Observer) -> UnlabelledImages | None:
    """Return the unlabelled images that the configuration names, or None where it names none.

    Raises:
        DropKDError: they are not there, can't be read, or are all in the labelled data's other splits.
    """
    if config.data.unlabelled is None:
        return None
    opened = open_unlabelled(
        config.data.unlabelled,
        data,
        skip_unreadable=config.data.skip_unreadable,
        progress=partial(observer.on_phase, "Reading unlabelled images"),
        remembering=choose_remembering(config.data),
    )
    for note in opened.notes:
        observer.on_message(f"Unlabelled images: {note}")
    return opened


def describe_steps(loader: TrainLoader | MixedLoader, epochs: int) -> str | None:
    """Return what a step, an epoch and a run show of labelled and unlabelled images; None without the latter."""
    if not isinstance(loader, MixedLoader):
        return None
    batch, pool = loader.labelled.batch_size, len(loader.unlabelled.split)
    labelled, unlabelled = loader.images_per_epoch
    shown = epochs * unlabelled
    length = count_of(epochs, "epoch")
    if shown >= pool:
        coverage = f"in {length} each of the {pool:,} unlabelled ones is shown {shown / pool:.3g} times on average"
    else:
        coverage = f"in {length} {shown:,} of the {pool:,} unlabelled ones are shown"
    return (
        f"{batch:,} labelled and {loader.count_unlabelled(batch):,} unlabelled images a step; an epoch is "
        f"{count_of(len(loader), 'step')}, {labelled:,} labelled and {unlabelled:,} unlabelled images; {coverage}"
    )


def record_pool(job: Job, loader: TrainLoader | MixedLoader) -> dict[str, Any]:
    """Return what ``metrics.json`` says of the unlabelled images; empty without any."""
    opened = job.unlabelled
    if opened is None or not isinstance(loader, MixedLoader):
        return {}
    return {
        "unlabelled": {
            "source": str(job.config.data.unlabelled),
            "images": len(opened.split),
            "ratio": loader.ratio,
            "images_per_step": loader.count_unlabelled(loader.labelled.batch_size),
            "images_per_epoch": loader.images_per_epoch[1],
            "left_out": dict(opened.left_out),
            "also_labelled": opened.known,
            "sha256": opened.split.fingerprint(),
        }
    }
