"""``dropkd data views``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dropkd.cli import options as flags
from dropkd.config import DataConfig, load_config
from dropkd.errors import ConfigError

__all__ = ["views"]

# The images and their views are all that is looked at; a configuration names a student as well.
_NO_STUDENT = {"student.name": "none"}


def views(
    data: flags.Data = None,
    augmentation: flags.Augmentation = None,
    file: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.png", help="The picture to write.")] = Path(
        "views.png"
    ),
    image_size: flags.ImageSize = None,
    images: Annotated[int, typer.Option("--images", metavar="N", min=1, max=100, help="Images, a row each.")] = 6,
    epochs: Annotated[int, typer.Option("--epochs", metavar="N", min=1, max=100, help="Views of each image.")] = 8,
    kind: Annotated[
        str,
        typer.Option("--view", metavar="KIND", help="standard, mirrored, mirrored_own_erasing or strong (of MLD)."),
    ] = "standard",
    seed: flags.Seed = None,
    config: flags.ConfigFile = None,
    set_: flags.Set = None,
) -> None:
    """Draw the random views that training would see.

    A row is an image: as it is, then its view of each epoch.

    Examples:
      dropkd data views photos --augmentation trivial
      dropkd data views photos --augmentation faces-scn --image-size 224 -o faces.png
      dropkd data views photos --augmentation rand --set data.rand_magnitude=20
      dropkd data views --config runs/first/config.yaml
    """
    from dropkd.cli.progress import Progress
    from dropkd.cli.tables import print_line
    from dropkd.data import default_image_size, open_data
    from dropkd.data.contact_sheet import draw_contact_sheet
    from dropkd.engine.augmentation import choose_recipe, list_parts

    if file.suffix.lower() != ".png":
        raise ConfigError(f"--output {str(file)!r}: the picture is a PNG file; end its name with .png.")
    given = {
        "data.path": data, "data.augmentation": augmentation, "seed": seed,
        "data.image_size": flags.parse_image_size(image_size),
    }  # fmt: skip
    spelling = {"data.path": "DATA", "data.augmentation": "--augmentation", "data.image_size": "--image-size"}
    settings = load_config(config, set_ or (), given, defaults=_NO_STUDENT, spelling={**spelling, "seed": "--seed"})
    with Progress() as progress:
        opened = open_data(
            settings.data.path,
            seed=settings.seed,
            validation_fraction=settings.data.validation_fraction,
            skip_unreadable=settings.data.skip_unreadable,
            progress=lambda done, total: progress.on_phase("Reading images", done, total),
        )
    size = _choose_size(settings.data, default_image_size(opened.native_size, None))
    recipe = choose_recipe(settings.data, opened, size)
    sheet = draw_contact_sheet(
        opened.train, recipe, size=size, seed=settings.seed, images=images, epochs=epochs, kind=kind
    )
    _save(sheet, file)
    parts = [part if value is True else f"{part} {_write(value)}" for part, value in list_parts(recipe).items()]
    print_line("recipe", f"{settings.data.augmentation}: {', '.join(parts)}")
    print_line("picture", file)


def _choose_size(config: DataConfig, default: tuple[int, int]) -> tuple[int, int]:
    given = config.image_size
    if given is None:
        return default
    return (given, given) if isinstance(given, int) else given


def _save(sheet: Any, file: Path) -> None:
    from dropkd.files import replacing, writable_folder

    writable_folder(file.parent)
    with replacing(file) as partial:
        sheet.save(partial, "PNG")


def _write(value: Any) -> str:
    return "-".join(f"{end:.3g}" for end in value) if isinstance(value, tuple) else str(value)
