"""The networks of a run, and what is kept of the teacher's answers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from dropkd.config.fields import CacheMode, FilePath, ImageSize, Section

__all__ = ["CacheConfig", "StudentConfig", "TeacherConfig"]


class StudentConfig(Section):
    """The network that is trained.

    Args:
        name: a timm, torchvision or dropkd model name, ``hf:ORG/NAME`` or ``hf:FOLDER``, or ``transformers/TYPE`` with
            its configuration as options. The folder of an earlier run, with a slash in it, stands for the name, the
            options and the trained weights of its student.
        pretrained: start from the published weights where there are any.
        checkpoint: start from this file instead.
        options: keyword arguments of the model's constructor, e.g. ``{patch_size: 4}``.
        drop_path: share of the images for which a block is left out in training (stochastic depth); that of the last
            block, it rises with the depth. None: the model's own default, mostly 0.
        map_modules: names of the modules whose outputs are the feature maps; None: found by dropkd.
    """

    name: str
    pretrained: bool = True
    checkpoint: FilePath | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    drop_path: float | None = Field(default=None, ge=0, lt=1)
    map_modules: list[str] | None = None


class TeacherConfig(Section):
    """The frozen network that is learned from.

    Args:
        source: ``NAME`` (its published weights), ``NAME:CHECKPOINT``, the folder of an earlier run, a file that dropkd
            wrote, a TorchScript or ONNX file (logits alone), ``hf:ORG/NAME`` or ``hf:FOLDER`` (a repository of timm's
            or of transformers' image classifiers; ``?revision=``), ``clip:MODEL/WEIGHTS``, ``clip:MODEL:FILE`` or
            ``clip:hf:ORG/NAME`` (zero-shot; ``?prompts=FILE&classes=FILE``), or several of these as ``ensemble:A+B``.
        image_size: pixels that a ``NAME:CHECKPOINT`` is fed, one number or [height, width]; None: what the file says,
            or else the better of the model's published input and the student's on your images. A TorchScript or ONNX
            file that does not say it is fed what the student is.
        map_modules: names of the modules whose outputs are the feature maps; None: found by dropkd.
        label_map: a CSV file with the columns ``teacher`` and ``own`` that says which of its classes stand for which of
            the data's, for a teacher of other classes or of another order.
        each: of an ensemble, learn from each network by terms of its own (``logit_1``, ``logit_2``) in place of their
            mean. A term's default weight is the method's own over the number of networks.
    """

    source: str
    image_size: ImageSize = None
    map_modules: list[str] | None = None
    label_map: FilePath | None = None
    each: bool = False


class CacheConfig(Section):
    """The teacher's answers, kept on disk so that it is asked once about each view of an image.

    Args:
        mode: ``auto`` takes a cache that is there, and builds one where ``data.distinct_views`` or several runs of a
            group make that less work for the teacher than an answer in every step; ``on`` builds one in any case;
            ``off`` asks in every step.
        folder: of all caches; None: ``teachers`` in the environment's ``DROPKD_CACHE``, or in
            ``~/.cache/dropkd``.
        number: what maps are kept in; ``int8`` has a scale for each image and channel. Logits and embeddings are kept
            in float16, or in float32 where maps are.
        channels: principal components that the maps' channels are reduced to; None keeps them as they are.
        top_logits: how many of the largest logits are kept, beside the sum of the others' probabilities; None keeps
            all.
        compared: random entries that are compared with the teacher itself at the start of a run.
    """

    mode: CacheMode = "auto"
    folder: FilePath | None = None
    number: Literal["float16", "float32", "int8"] = "float16"
    channels: int | None = Field(default=None, ge=1)
    top_logits: int | None = Field(default=None, ge=1)
    compared: int = Field(default=4, ge=0)
