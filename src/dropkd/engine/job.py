"""A run, ready to start: everything that it needs, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dropkd.data import EvalLoader, ImageData, MixedLoader, Recipe, Split, TrainLoader, UnlabelledImages
from dropkd.engine.distiller import Distiller
from dropkd.engine.fabric import Fabric
from dropkd.engine.finetuning import FineTuning
from dropkd.engine.plan import ResolvedConfig, evaluation_frame
from dropkd.engine.qat import Qat
from dropkd.engine.shared import Shared
from dropkd.models import Network

__all__ = ["Job"]

_EVAL_BATCH, _CPU_EVAL_BATCH = 250, 64


@dataclass
class Job:
    """Everything that a run needs.

    Args:
        config: the resolved configuration.
        data: the opened data set.
        fabric: device and precision.
        distiller: student, method and teacher, as they are before the first step.
        finetuning: what of them is trained when, and at which rate.
        recipe: what is done to the training images.
        view_size: (height, width) of the training views.
        initial_weights: SHA-256 of the student's initial weights.
        unlabelled: images for the teacher's terms alone, or None.
        shared: what it has in common with other runs of this process.
        departures: keys that were asked for beside their defaults, see
            :func:`dropkd.engine.departures.find_departures`.
        qat: when the student is rounded, None where it is not.
    """

    config: ResolvedConfig
    data: ImageData
    fabric: Fabric
    distiller: Distiller
    finetuning: FineTuning
    recipe: Recipe
    view_size: tuple[int, int]
    initial_weights: str
    unlabelled: UnlabelledImages | None = None
    shared: Shared = field(default_factory=Shared)
    departures: Mapping[str, Any] = field(default_factory=dict)
    qat: Qat | None = None

    def train_loader(self) -> TrainLoader | MixedLoader:
        """Return the loader of the training images, with the unlabelled ones among them where there are some."""
        config, views, device = self.config, self.distiller.method.views, self.fabric.device
        labelled = TrainLoader(
            self.data.train,
            size=self.view_size,
            recipe=self.recipe,
            batch_size=config.training.batch_size,
            seed=config.seed,
            workers=config.data.workers if self.unlabelled is None else 0,
            views=views,
            # A last batch of few images makes batch statistics, and losses over a batch, worthless.
            drop_last=len(self.data.train) >= config.training.batch_size,
            sampling=config.data.sampling,
            distinct_views=config.data.distinct_views,
            # What depends on the whole batch, or comes several times in an epoch, is the same only if all of it is.
            repeats_epochs=bool(config.training.mixup or config.training.cutmix or config.data.sampling != "shuffle"),
            view_seed=config.view_seed,
            # On the processor numpy makes them in less time than PyTorch would.
            device=device if device.type == "cuda" and self.unlabelled is None else None,
        )
        if self.unlabelled is None:
            return labelled
        others = TrainLoader(
            self.unlabelled.split,
            size=self.view_size,
            recipe=self.recipe,
            batch_size=1,
            seed=config.seed,
            views=views,
            first=len(self.data.train),
            distinct_views=config.data.distinct_views,
            view_seed=config.view_seed,
        )
        return MixedLoader(
            labelled, others, ratio=config.data.unlabelled_ratio, workers=config.data.workers, device=device
        )

    @property
    def eval_batch(self) -> int:
        """How many images a network is asked about at a time outside of training."""
        step = self.config.training.batch_size
        # A processor is faster where what it works on stays near to it, and needs no more memory than for a step.
        return min(_CPU_EVAL_BATCH, step) if self.fabric.device.type == "cpu" else min(_EVAL_BATCH, 4 * step)

    def eval_frame(self, network: Network) -> tuple[int, int]:
        """Return the (height, width) of the frames that a network is judged by."""
        # The student gets the very frames that it gets after training; a large teacher enlarges small images itself.
        native = self.data.native_size if network is self.distiller.teacher else None
        return evaluation_frame(network.spec.image_size, network.spec.crop_fraction, native)

    def eval_loader(self, split: Split, network: Network) -> EvalLoader:
        """Return the loader of a split with frames of the size that this network wants."""
        size, workers, device = self.eval_frame(network), self.config.data.workers, self.fabric.device
        return EvalLoader(split, size=size, batch_size=self.eval_batch, workers=workers, device=device)
