"""``dropkd train``, ``dropkd distill`` and ``dropkd resume``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dropkd.cli import options as flags
from dropkd.cli.groups import assemble_members, go_on_with_group, is_group_asked, run_group
from dropkd.config import Config
from dropkd.errors import ConfigError

__all__ = ["distill", "resume", "run_config", "train"]


def train(
    context: typer.Context,
    data: flags.Data = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="NAME", help="Network to train; see `dropkd models`."),
    ] = None,
    output: flags.Output = None,
    overwrite: flags.Overwrite = False,
    dry_run: flags.DryRun = False,
    config: flags.ConfigFile = None,
    set_: flags.Set = None,
    seed: flags.Seed = None,
    baseline: flags.Baseline = None,
    epochs: flags.Epochs = None,
    batch_size: flags.BatchSize = None,
    lr: flags.Lr = None,
    probe_epochs: flags.ProbeEpochs = None,
    layer_decay: flags.LayerDecay = None,
    patience: flags.Patience = None,
    qat: flags.Qat = None,
    class_weights: flags.ClassWeights = None,
    sampling: flags.Sampling = None,
    image_size: flags.ImageSize = None,
    augmentation: flags.Augmentation = None,
    pretrained: flags.Pretrained = None,
    skip_unreadable: flags.SkipUnreadable = None,
    verify: flags.Verify = None,
    teacher_check: flags.TeacherCheck = None,
    unlabelled: Annotated[Path | None, typer.Option("--unlabelled", hidden=True)] = None,
    device: flags.Device = None,
    workers: flags.Workers = None,
    threads: flags.Threads = None,
) -> None:
    """Train a network on a folder of images, without a teacher.

    The run folder can then be the teacher of [bold]dropkd distill[/bold].
    Whatever you leave open is chosen by the images.

    Examples:
      dropkd train photos --model resnet18
      dropkd train photos --model vit_small_patch16_224 --output runs/teacher
      dropkd train faces --model vit_small_patch16_224 --probe-epochs 5 --layer-decay 0.75 --patience 10
      dropkd train faces --model resnet50 --sampling balanced --set finetune.freeze=embeddings
      dropkd train photos --model resnet18 --set training.optimizer=sgd --dry-run
    """
    settings = flags.assemble_config(context.params)
    if settings.data.unlabelled is not None:
        raise ConfigError(
            "`dropkd train` learns from labels alone: without a teacher there is nothing to learn from the unlabelled "
            f"images {str(settings.data.unlabelled)!r}. Train on the labelled ones, then give the run as --teacher to "
            "`dropkd distill` with --unlabelled."
        )
    if settings.teacher is not None:
        raise ConfigError(
            f"`dropkd train` learns from no teacher, but one is named: {settings.teacher.source!r}. "
            "Use `dropkd distill`, or take the teacher out."
        )
    run_config(settings, overwrite=overwrite, dry_run=dry_run)


def distill(
    context: typer.Context,
    data: flags.Data = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            "-t",
            metavar="TEACHER",
            help="What to learn from: a model's name (published weights), NAME:CHECKPOINT, a run folder, a TorchScript "
            "or ONNX file, hf:ORG/NAME or hf:FOLDER (timm, transformers), clip:MODEL/WEIGHTS (zero-shot), or several "
            "as ensemble:A+B.",
        ),
    ] = None,
    student: Annotated[
        list[str] | None,
        typer.Option(
            "--student",
            metavar="NAME",
            help="Network to train; see `dropkd models`. Can be given often: a group of runs.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", metavar="NAME", help="How to learn; see `dropkd methods`. Default: dropkd."),
    ] = None,
    output: flags.Output = None,
    overwrite: flags.Overwrite = False,
    dry_run: flags.DryRun = False,
    config: flags.ConfigFile = None,
    set_: flags.Set = None,
    seed: flags.Seed = None,
    seeds: flags.Seeds = None,
    side_by_side: flags.SideBySide = "auto",
    baseline: flags.Baseline = None,
    epochs: flags.Epochs = None,
    batch_size: flags.BatchSize = None,
    lr: flags.Lr = None,
    probe_epochs: flags.ProbeEpochs = None,
    layer_decay: flags.LayerDecay = None,
    patience: flags.Patience = None,
    qat: flags.Qat = None,
    class_weights: flags.ClassWeights = None,
    sampling: flags.Sampling = None,
    image_size: flags.ImageSize = None,
    augmentation: flags.Augmentation = None,
    pretrained: flags.Pretrained = None,
    skip_unreadable: flags.SkipUnreadable = None,
    verify: flags.Verify = None,
    teacher_check: flags.TeacherCheck = None,
    label_map: flags.LabelMap = None,
    unlabelled: flags.Unlabelled = None,
    unlabelled_ratio: flags.UnlabelledRatio = None,
    teacher_cache: flags.TeacherCache = None,
    views: flags.Views = None,
    device: flags.Device = None,
    workers: flags.Workers = None,
    threads: flags.Threads = None,
) -> None:
    """Train a small student that learns from a teacher.

    The teacher's accuracy on your images is measured before the first step. Several students or seeds make a group of
    runs, whose teacher is asked once about each picture; the same command again goes on with what is not finished.

    Examples:
      dropkd distill photos --teacher runs/teacher --student resnet18
      dropkd distill photos -t deit_tiny_patch16_224:best.pth --student resnet18
      dropkd distill photos -t runs/teacher --student resnet18 --method kd --baseline
      dropkd distill photos -t runs/teacher --student resnet18 --set method.width=64
      dropkd distill photos -t runs/teacher --student resnet18 --unlabelled more-photos
      dropkd distill photos -t runs/teacher --student resnet18 --teacher-cache --views 8
      dropkd distill photos -t runs/teacher --student resnet18 --student mobilenetv2_100 --seeds 0-4
      dropkd distill photos -t runs/teacher --student runs/first --qat
    """
    defaults = {"method.name": "dropkd"}
    if is_group_asked(context.params):
        configs = assemble_members(context.params, defaults)
        first = next(iter(configs.values()))
        _require_teacher(first)
        together = flags.read_side_by_side(side_by_side)
        run_group(configs, output or first.output, side_by_side=together, overwrite=overwrite, dry_run=dry_run)
        return
    settings = flags.assemble_config({**context.params, "student": next(iter(student or ()), None)}, defaults=defaults)
    _require_teacher(settings)
    run_config(settings, overwrite=overwrite, dry_run=dry_run)


def _require_teacher(settings: Config) -> None:
    from dropkd.methods.registry import method_class

    if settings.teacher is None and method_class(settings.method.name).teacher_reads:
        raise ConfigError(
            "--teacher is missing: the network to learn from. Give a model's name, NAME:CHECKPOINT, or the folder "
            f"of an earlier run, e.g. one that `dropkd train {settings.data.path} --model NAME` wrote."
        )


def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or a group of runs, that was stopped.")],
) -> None:
    """Go on with a run that was stopped, as if it had not been, or with all that is left of a group.

    The result is bit for bit that of the uninterrupted run.

    Example:
      dropkd resume runs/first
    """
    if (run / "group.yaml").is_file():
        go_on_with_group(run)
        return
    from dropkd import api
    from dropkd.cli.progress import Progress
    from dropkd.cli.tables import print_outcome

    with Progress() as progress:
        finished = api.resume(run, observer=progress)
    print_outcome(finished)


def run_config(config: Config, *, overwrite: bool = False, dry_run: bool = False) -> None:
    """Run a configuration, or only say what it would do, and print the outcome."""
    from dropkd import api
    from dropkd.cli.progress import Progress
    from dropkd.cli.tables import print_dry_run, print_outcome

    if dry_run:
        with Progress() as progress:
            plan = api.dry_run(config, observer=progress)
        print_dry_run(plan)
        return
    with Progress() as progress:
        run = api.run(config, overwrite=overwrite, observer=progress)
    print_outcome(run)
