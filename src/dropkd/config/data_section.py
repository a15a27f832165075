"""The images of a run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from dropkd.config.fields import Augmentation, FilePath, Fraction, ImageSize, Range, Section, ShareRange

__all__ = ["DataConfig"]


class DataConfig(Section):
    """The images and what is done to them before training.

    Args:
        path: folder of images, ``train/CLASS/*`` and ``test/CLASS/*`` or just ``CLASS/*``; a manifest, a published set
            in its own layout, ``torchvision:NAME``, ``hf:NAME``, or shards (see docs/data.md).
        image_size: pixels that the student is fed, one number or [height, width]; None: by the data.
        augmentation: the recipe of random changes by its name; ``auto`` is crop-flip for small images and resized-crop
            for large ones. The keys from ``crop`` to ``erase_scale`` are its parts; None: by the recipe.
        crop: ``shift``, ``resized`` or ``centre``.
        crop_padding: how far ``shift`` moves images, in pixels of the view.
        crop_scale: [low, high], the share of the image's area that ``resized`` shows.
        crop_ratio: [low, high], the shape of what ``resized`` shows, as width over height.
        interpolation: ``bilinear``, ``bicubic``, or one of the two at ``random``.
        flip: mirror images left to right at random.
        noise_probability: share of images that get Gaussian noise before they are resized.
        flip_or_noise: an image gets one of the two at most.
        operations: ``trivial`` (TrivialAugment), ``rand`` (RandAugment) or ``none``.
        rand_ops: number of RandAugment's operations.
        rand_magnitude: their strength, 0 to 30.
        color_jitter: strength of random brightness, contrast and saturation; 0 is off.
        erase_probability: share of images that lose a random rectangle.
        erase_scale: [low, high], the rectangle's share of the view's area.
        unlabelled: images without labels, for the teacher's terms alone: a folder of any depth, or any form that
            ``path`` may have, whose labels are not read.
        unlabelled_ratio: unlabelled images for each labelled one in a batch; ``batch_size`` counts the labelled ones.
        validation_fraction: share of the training images that picks the epoch where there is no val folder; with 0
            all are trained on and the last epoch is kept.
        sampling: how often an epoch shows the images of each class: ``shuffle`` each image once, ``balanced`` all
            classes equally often, ``square-root`` in proportion to the square root of their counts.
        skip_unreadable: leave unreadable files out instead of stopping.
        workers: processes that read images; None: by the data.
        packed: where decoded images are kept, so that each is decoded once and not once an epoch. ``auto`` keeps small
            ones of one size in memory and others on disk, where they fit; ``memory`` writes none to disk; ``disk``
            keeps all there, whatever the machine's memory; ``off`` decodes each time. The pixels are the same.
        packed_gb: how many gigabytes the decoded images of all data sets may take on disk.
        verify: read every image anew at the start. Else a file is known where its path, size, inode and times of
            modification and of change are those that an earlier run has seen.
        distinct_views: how many random views there are of each image: epoch e shows view e modulo this number (and,
            with mixup, CutMix or uneven sampling, repeats that epoch's order and mixing). None: each epoch has its own.
        view_seed: seed of the views; None: that of the run. Runs that share it and ``split_seed`` share a teacher's
            cache, whatever their own seeds.
        split_seed: seed that picks the images of splits that are cut; None: that of the run.
    """

    path: FilePath
    image_size: ImageSize = None
    augmentation: Augmentation = "auto"
    crop: Literal["shift", "resized", "centre"] | None = None
    crop_padding: int | None = Field(default=None, ge=0)
    crop_scale: ShareRange = None
    crop_ratio: Range = None
    interpolation: Literal["bilinear", "bicubic", "random"] | None = None
    flip: bool | None = None
    noise_probability: Fraction | None = None
    flip_or_noise: bool | None = None
    operations: Literal["none", "trivial", "rand"] | None = None
    rand_ops: int | None = Field(default=None, ge=0, le=100)
    rand_magnitude: int | None = Field(default=None, ge=0, le=30)
    color_jitter: Fraction | None = None
    erase_probability: Fraction | None = None
    erase_scale: ShareRange = None
    unlabelled: FilePath | None = None
    unlabelled_ratio: float = Field(default=1.0, gt=0)
    validation_fraction: float = Field(default=0.1, ge=0, le=0.5)
    sampling: Literal["shuffle", "balanced", "square-root"] = "shuffle"
    skip_unreadable: bool = False
    workers: int | None = Field(default=None, ge=0)
    packed: Literal["auto", "memory", "disk", "off"] = "auto"
    packed_gb: float = Field(default=10.0, gt=0)
    verify: bool = False
    distinct_views: int | None = Field(default=None, ge=1)
    view_seed: int | None = Field(default=None, ge=0, lt=2**32)
    split_seed: int | None = Field(default=None, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _check_unlabelled(self) -> DataConfig:
        if self.unlabelled is None and self.unlabelled_ratio != 1:
            raise ValueError(
                f"'data.unlabelled_ratio' is {self.unlabelled_ratio:g}, but there are no unlabelled images: name them "
                "by 'data.unlabelled' (--unlabelled)"
            )
        return self
