"""The flags that ``train`` and ``distill`` share, and the configuration that they make together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from dropkd.config import Config, MethodConfig, load_config
from dropkd.errors import ConfigError, ModelError

__all__ = [
    "Augmentation",
    "Baseline",
    "BatchSize",
    "ClassWeights",
    "ConfigFile",
    "Data",
    "Device",
    "DryRun",
    "Epochs",
    "ImageSize",
    "LabelMap",
    "LayerDecay",
    "Lr",
    "Output",
    "Overwrite",
    "Patience",
    "Pretrained",
    "ProbeEpochs",
    "Qat",
    "Sampling",
    "Seed",
    "Seeds",
    "Set",
    "SideBySide",
    "SkipUnreadable",
    "TeacherCheck",
    "Threads",
    "Unlabelled",
    "UnlabelledRatio",
    "Workers",
    "assemble_config",
    "parse_image_size",
    "read_side_by_side",
]

_RUN, _TRAIN, _MACHINE = "The run", "Training", "The machine"

Data = Annotated[
    Path | None,
    typer.Argument(
        metavar="DATA",
        help="Folder with train/CLASS/* and test/CLASS/* (val/ too), or CLASS/* (split 80/10/10 by seed); a CSV or "
        "parquet manifest; RAF-DB, ImageNet or FER2013; torchvision:CIFAR100; hf:NAME or a saved Hugging Face data "
        "set; WebDataset shards, as train-{000..012}.tar or wds:URL.",
        show_default=False,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="RUN", help="Run folder. Default: a new one in runs/.", rich_help_panel=_RUN
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the run folder if it exists.", rich_help_panel=_RUN)
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Write nothing: print the configuration, shapes, steps, time and memory from a few real steps.",
        rich_help_panel=_RUN,
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE.yaml",
        help="Read settings from a file; `extends: base.yaml` in it starts from another one's.",
        rich_help_panel=_RUN,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="Set any key of the configuration, e.g. method.temperature=2; can be given often.",
        rich_help_panel=_RUN,
        show_default=False,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", help="Seed of every random number. Default: 0.", rich_help_panel=_RUN),
]
Seeds = Annotated[
    str | None,
    typer.Option(
        "--seeds",
        metavar="0-4|0,3,7",
        help="A run with each of these seeds. The first one is also that of the random views and of the validation "
        "images, which all runs share.",
        rich_help_panel=_RUN,
        show_default=False,
    ),
]
SideBySide = Annotated[
    str,
    typer.Option(
        "--side-by-side",
        metavar="auto|off",
        help="Train runs that see the same batches together, as far as the memory goes. The numbers are the same.",
        rich_help_panel=_RUN,
    ),
]
Baseline = Annotated[
    bool | None,
    typer.Option(
        "--baseline/--no-baseline",
        help="Also train the same student alone, for comparison. Default: no.",
        rich_help_panel=_RUN,
        show_default=False,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option("--epochs", metavar="N", help="Passes over the training images.", rich_help_panel=_TRAIN),
]
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", metavar="N", help="Images a step.", rich_help_panel=_TRAIN)
]
Lr = Annotated[float | None, typer.Option("--lr", metavar="X", help="Peak learning rate.", rich_help_panel=_TRAIN)]
ImageSize = Annotated[
    str | None,
    typer.Option(
        "--image-size",
        metavar="N|HxW",
        help="Pixels that the network is fed. Default: by the images; small ones are not blown up.",
        rich_help_panel=_TRAIN,
    ),
]
Augmentation = Annotated[
    str | None,
    typer.Option(
        "--augmentation",
        metavar="NAME",
        help="Random changes of the training images: cifar, imagenet, faces-scn, faces-eac, trivial, rand, crop-flip, "
        "resized-crop, none. Default: by the images' size. `dropkd data views` shows them.",
        rich_help_panel=_TRAIN,
        show_default=False,
    ),
]
Pretrained = Annotated[
    bool | None,
    typer.Option(
        "--pretrained/--no-pretrained",
        help="Start the trained network from its published weights where there are any. Default: yes.",
        rich_help_panel=_TRAIN,
        show_default=False,
    ),
]
ProbeEpochs = Annotated[
    int | None,
    typer.Option(
        "--probe-epochs",
        metavar="N",
        help="Train the classifier alone in the first N epochs. Default: 0.",
        rich_help_panel=_TRAIN,
    ),
]
LayerDecay = Annotated[
    float | None,
    typer.Option(
        "--layer-decay",
        metavar="X",
        help="Each layer's rate is X times that of the layer above it, e.g. 0.75. Default: 1, all alike.",
        rich_help_panel=_TRAIN,
    ),
]
Qat = Annotated[
    bool | None,
    typer.Option(
        "--qat",
        help="Let the student learn to be rounded, for `dropkd export --int8`: start from one that is trained "
        "(--student RUN), or be rounded in the last epochs. Default: no.",
        rich_help_panel=_TRAIN,
        show_default=False,
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        "--patience",
        metavar="N",
        help="Stop after N epochs without a better validation score. Default: never.",
        rich_help_panel=_TRAIN,
    ),
]
ClassWeights = Annotated[
    str | None,
    typer.Option(
        "--class-weights",
        metavar="none|balanced|effective",
        help="Weights of small classes in the loss. Default: none.",
        rich_help_panel=_TRAIN,
    ),
]
Sampling = Annotated[
    str | None,
    typer.Option(
        "--sampling",
        metavar="shuffle|balanced|square-root",
        help="How often an epoch shows each class. Default: shuffle, each image once.",
        rich_help_panel=_TRAIN,
    ),
]
SkipUnreadable = Annotated[
    bool | None,
    typer.Option(
        "--skip-unreadable",
        help="Leave out images that can't be read, and list them.",
        rich_help_panel=_TRAIN,
        show_default=False,
    ),
]
Verify = Annotated[
    bool | None,
    typer.Option(
        "--verify",
        help="Read every image anew, those too whose size and times say that an earlier run has read them.",
        rich_help_panel=_TRAIN,
        show_default=False,
    ),
]
Unlabelled = Annotated[
    Path | None,
    typer.Option(
        "--unlabelled",
        metavar="PLACE",
        help="Images without labels, for the teacher's terms alone: a folder of any depth, or any form of DATA, whose "
        "labels are not read.",
        rich_help_panel=_TRAIN,
    ),
]
UnlabelledRatio = Annotated[
    float | None,
    typer.Option(
        "--unlabelled-ratio",
        metavar="R",
        help="Unlabelled images for each labelled one in a batch; --batch-size counts the labelled ones. Default: 1.",
        rich_help_panel=_TRAIN,
    ),
]
TeacherCheck = Annotated[
    str | None,
    typer.Option(
        "--teacher-check",
        metavar="stop|warn|off",
        help="What to do about a teacher that is near chance on these images. Default: stop.",
        rich_help_panel=_TRAIN,
    ),
]
LabelMap = Annotated[
    Path | None,
    typer.Option(
        "--label-map",
        metavar="MAP.csv",
        help="Columns teacher, own: which of the teacher's classes stand for which of yours, where they differ.",
        rich_help_panel=_TRAIN,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda|cuda:N",
        help="Where to compute. Default: a GPU if there is one.",
        rich_help_panel=_MACHINE,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", help="Processes that read images.", rich_help_panel=_MACHINE),
]
Threads = Annotated[
    int | None, typer.Option("--threads", metavar="N", min=1, help="CPU threads.", rich_help_panel=_MACHINE)
]

TeacherCache = Annotated[
    bool | None,
    typer.Option(
        "--teacher-cache/--no-teacher-cache",
        help="Keep the teacher's answers on disk, so that it is asked once about each view. Default: where it pays.",
        rich_help_panel=_TRAIN,
        show_default=False,
    ),
]
Views = Annotated[
    int | None,
    typer.Option(
        "--views",
        metavar="V",
        help="Random views of each image; later epochs show them again. Default: new ones in each epoch.",
        rich_help_panel=_TRAIN,
    ),
]

# The parameters of the verbs that are keys of the configuration, and how the user writes them.
_KEYS = {
    "data": ("data.path", "DATA"),
    "model": ("student.name", "--model"),
    "student": ("student.name", "--student"),
    "teacher": ("teacher.source", "--teacher"),
    "label_map": ("teacher.label_map", "--label-map"),
    "method": ("method.name", "--method"),
    "image_size": ("data.image_size", "--image-size"),
    "augmentation": ("data.augmentation", "--augmentation"),
    "unlabelled": ("data.unlabelled", "--unlabelled"),
    "unlabelled_ratio": ("data.unlabelled_ratio", "--unlabelled-ratio"),
    "skip_unreadable": ("data.skip_unreadable", "--skip-unreadable"),
    "verify": ("data.verify", "--verify"),
    "workers": ("data.workers", "--workers"),
    "pretrained": ("student.pretrained", "--pretrained"),
    "teacher_cache": ("cache.mode", "--teacher-cache"),
    "views": ("data.distinct_views", "--views"),
    "teacher_check": ("teacher_check", "--teacher-check"),
    "epochs": ("training.epochs", "--epochs"),
    "batch_size": ("training.batch_size", "--batch-size"),
    "lr": ("training.lr", "--lr"),
    "probe_epochs": ("finetune.probe_epochs", "--probe-epochs"),
    "layer_decay": ("finetune.layer_decay", "--layer-decay"),
    "patience": ("training.patience", "--patience"),
    "qat": ("qat.enabled", "--qat"),
    "class_weights": ("training.class_weights", "--class-weights"),
    "sampling": ("data.sampling", "--sampling"),
    "seed": ("seed", "--seed"),
    "device": ("device", "--device"),
    "threads": ("threads", "--threads"),
    "baseline": ("baseline", "--baseline"),
    "output": ("output", "--output"),
}


def parse_image_size(text: str | None) -> int | list[int] | str | None:
    """Return ``224`` as a number, ``224x160`` as [height, width], and other text as it is, to be refused."""
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) not in (1, 2) or not all(side.strip().isdecimal() for side in sides):
        return text
    numbers = [int(side) for side in sides]
    return numbers[0] if len(numbers) == 1 else numbers


def read_side_by_side(word: str) -> bool:
    """Return whether runs may be trained together.

    Raises:
        ConfigError: another word.
    """
    if word not in ("auto", "off"):
        raise ConfigError(f"--side-by-side must be auto or off, got {word!r}.")
    return word == "auto"


def assemble_config(parameters: Mapping[str, Any], *, defaults: Mapping[str, Any] | None = None) -> Config:
    """Return the configuration of a command line, with every mistake in it named at once.

    Args:
        parameters: those of the verb, by the names that its function gives them.
        defaults: values by dotted key for what the user left open.

    Raises:
        ConfigError: a line for each mistake.
    """
    given = {name: value for name, value in parameters.items() if name in _KEYS}
    flags = {_KEYS[name][0]: value for name, value in given.items()}
    flags["data.image_size"] = parse_image_size(flags.get("data.image_size"))
    file = parameters.get("config")
    return load_config(
        Path(file) if file else None,
        parameters.get("set_") or (),
        flags,
        defaults=defaults,
        spelling=dict(_KEYS[name] for name in given),
        check_method=_check_method,
        list_method_keys=_list_method_keys,
    )


def _list_method_keys(name: str) -> list[str]:
    from dropkd.methods.registry import method_class, method_options

    return list(method_options(method_class(name)))


def _check_method(method: MethodConfig, teacher: Mapping[str, Any]) -> None:
    from dropkd.engine.wiring import resolve_weights
    from dropkd.methods.per_teacher import per_teacher
    from dropkd.methods.registry import check_method_options, method_class

    cls = method_class(method.name)
    if teacher.get("each") is True:
        cls = per_teacher(cls, _count_teachers(str(teacher.get("source", ""))))
    mistakes = []
    for check in (
        lambda: check_method_options(method.name, method.options),
        lambda: resolve_weights(cls, method.weights),
    ):
        try:
            check()
        except ConfigError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ConfigError("\n".join(mistakes))


def _count_teachers(source: str) -> int:
    """Return how many teachers a source names; a source that is wrong is told of when it is opened."""
    from dropkd.models.source_lists import split_sources

    try:
        return len(split_sources(source))
    except ModelError:
        return 1
