"""What is sent of a run: a folder with the weights, their description, the model card, and nothing else."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from dropkd.errors import RunError
from dropkd.export import export_run
from dropkd.export.standalone import SCRIPT
from dropkd.files import replacing, writable_folder, write_text
from dropkd.models.pushed import CONFIG_FILE, WEIGHTS_FILE
from dropkd.models.spec import ModelSpec
from dropkd.run import Run
from dropkd.sharing.card import Card, make_card
from dropkd.sharing.hiding import find_own_paths, mentioned
from dropkd.sharing.repository_config import describe_repository, timm_architecture

__all__ = ["CARD_FILE", "ONNX_FILE", "OWN_FILES", "Package", "SentFile", "package_run"]

CARD_FILE, ONNX_FILE = "README.md", "model.onnx"
# Everything that dropkd ever puts into a repository.
OWN_FILES = (CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, ONNX_FILE, f"{ONNX_FILE}.json", SCRIPT)


@dataclass(frozen=True)
class SentFile:
    """One file of a package: its name in the repository, its size in bytes, and what it holds, in words."""

    name: str
    bytes: int
    holds: str


@dataclass(frozen=True)
class Package:
    """A folder that is ready to be sent.

    Args:
        folder: holds the files.
        files: all that is in it.
        card: the model card.
        architecture: the name by which timm builds the student, or None where it is none of timm's.
    """

    folder: Path
    files: tuple[SentFile, ...]
    card: Card
    architecture: str | None


def package_run(
    run: Run,
    folder: Path,
    *,
    repository: str,
    revision: str | None = None,
    licence: str | None = None,
    licence_link: str | None = None,
    data_name: str | None = None,
    with_onnx: bool = False,
) -> Package:
    """Write the files of a finished run that are sent into an empty folder.

    Args:
        run: the run.
        folder: where they go; made where it is not there.
        repository: ``OWNER/NAME`` that the card names.
        revision: the branch, where it is not the main one.
        licence: of the student, as its owner states it.
        licence_link: where the text of an unusual licence is.
        data_name: how the images are called.
        with_onnx: export the student as ONNX too.

    Raises:
        RunError: the run is not finished, the folder holds something, or a file names a place on this machine.
        DropKDError: the export fails; see :func:`dropkd.export_run`.
    """
    # The card first: it refuses a run that is not finished.
    card = make_card(
        run, repository=repository, revision=revision, licence=licence, licence_link=licence_link, data_name=data_name,
        onnx=ONNX_FILE if with_onnx else None,
    )  # fmt: skip
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{str(folder)!r} is not an empty folder. Choose another, so that nothing of it is sent along.")
    was_there = folder.exists()
    writable_folder(folder)
    try:
        spec = _write_network(run, folder, card)
        write_text(folder / CARD_FILE, card.text)
        if with_onnx:
            export_run(run, output=folder / ONNX_FILE, licence=card.licence.name)
        _refuse_own_paths(run, folder)
    except BaseException:
        for path in folder.iterdir():
            path.unlink()
        if not was_there:
            folder.rmdir()
        raise
    holds = {
        CARD_FILE: "the model card",
        CONFIG_FILE: "what the network is, its classes and its preprocessing",
        WEIGHTS_FILE: "the weights",
        ONNX_FILE: "the network for ONNX Runtime",
        f"{ONNX_FILE}.json": "how images come to it",
        SCRIPT: "a program that asks it, without dropkd",
    }
    files = tuple(
        SentFile(path.name, path.stat().st_size, holds.get(path.name, "")) for path in sorted(folder.iterdir())
    )
    return Package(folder, files, card, timm_architecture(spec))


def _write_network(run: Run, folder: Path, card: Card) -> ModelSpec:
    student = run.folder / "student.safetensors"
    spec = card.spec
    network = run.network() if timm_architecture(spec) is not None else None
    described = describe_repository(spec, None if network is None else network.model, card.licence)
    write_text(folder / CONFIG_FILE, json.dumps(described, indent=2) + "\n")
    with replacing(folder / WEIGHTS_FILE) as partial:
        shutil.copyfile(student, partial)
    return spec


def _refuse_own_paths(run: Run, folder: Path) -> None:
    places = find_own_paths(run)
    for path in sorted(folder.iterdir()):
        place = mentioned(path.read_bytes(), places)
        if place is not None:
            raise RunError(f"{path.name} would tell others of a place on this machine, {place!r}, so it is not sent.")
