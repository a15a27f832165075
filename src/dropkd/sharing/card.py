"""The model card of a finished run: what the student is, how good it is, where it fails, and how it may be used."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dropkd.config import Config
from dropkd.errors import RunError
from dropkd.files import writable_folder, write_text
from dropkd.models import read_spec
from dropkd.models.public_names import name_model
from dropkd.models.spec import ModelSpec
from dropkd.report.run_record import RunRecord, read_run
from dropkd.run import Run
from dropkd.sharing.card_figures import list_results, list_weakest, tabulate_figures
from dropkd.sharing.card_limits import list_limits
from dropkd.sharing.card_making import cite_methods, rebuild_command
from dropkd.sharing.card_words import (
    describe_licence,
    describe_making,
    describe_plain,
    describe_split,
    describe_start,
    describe_student,
    describe_teacher,
    describe_upstream,
    describe_versions,
    list_classes,
    list_warnings,
)
from dropkd.sharing.hiding import name_data
from dropkd.sharing.licence import Licence, Upstream, choose_licence, list_upstream
from dropkd.sharing.markdown import as_text
from dropkd.sharing.repository_config import timm_architecture

__all__ = ["Card", "make_card", "write_card"]

_WEAKEST = 10
_PLACEHOLDER = "OWNER/NAME"


@dataclass(frozen=True)
class Card:
    """A model card.

    Args:
        text: the content of README.md.
        spec: of the student.
        licence: of the student.
        data: what the images are called in it.
        warnings: what its owner should see to, each a sentence.
    """

    text: str
    spec: ModelSpec
    licence: Licence
    data: str
    warnings: tuple[str, ...]


def write_card(
    run: Run | str | Path,
    output: str | Path | None = None,
    *,
    repository: str | None = None,
    licence: str | None = None,
    licence_link: str | None = None,
    data_name: str | None = None,
) -> tuple[Path, Card]:
    """Write the model card of a finished run.

    Args:
        run: a run or its folder.
        output: the file; by default ``README.md`` in the run folder.
        repository: ``OWNER/NAME`` that its snippets name.
        licence: of the student, as its owner states it.
        licence_link: where the text of an unusual licence is.
        data_name: how the images are called; by default what their place is called.

    Raises:
        RunError: the run is not finished, or the file can't be written.
        ConfigError: see :func:`~dropkd.sharing.licence.choose_licence`.
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    card = make_card(opened, repository=repository, licence=licence, licence_link=licence_link, data_name=data_name)
    path = Path(output) if output is not None else opened.folder / "README.md"
    writable_folder(path.parent)
    write_text(path, card.text)
    return path, card


def make_card(
    run: Run,
    *,
    repository: str | None = None,
    revision: str | None = None,
    licence: str | None = None,
    licence_link: str | None = None,
    data_name: str | None = None,
    onnx: str | None = None,
) -> Card:
    """Return the model card of a finished run; see :func:`write_card`.

    Args:
        run: the run.
        repository: ``OWNER/NAME`` that its snippets name, or None.
        revision: the branch that they name beside it, or None.
        licence: of the student, as its owner states it.
        licence_link: where the text of an unusual licence is.
        data_name: how the images are called.
        onnx: name of the exported file beside it, or None.
    """
    record = _read_finished(run)
    config, spec = run.config, _read_spec(run)
    upstream = list_upstream(config, dict(record.metrics.get("teacher") or {}))
    terms = choose_licence(licence, licence_link, upstream)
    data = name_data(str(config.data.path), data_name)
    split = record.split or "val"
    place = (repository or _PLACEHOLDER) + (f"@{revision}" if revision else "")
    architecture = timm_architecture(spec)
    title = (repository or "").partition("/")[2] or f"{name_model(spec.name)} by {record.method}"
    metadata = _metadata(record, config, split, terms, data, upstream, title, architecture is not None)
    values: dict[str, Any] = {
        "title": as_text(title),
        "lead": describe_student(record, split, data),
        "outcome": "any of these labels come out, perhaps none"
        if record.is_multi_label
        else "one of these classes comes out",
        "classes": list_classes(spec),
        "architecture": as_text(name_model(spec.name)),
        "parameters": f"{record.figure('student', 'parameters') or 0:,.0f}",
        "image_size": " x ".join(str(side) for side in spec.image_size),
        "method": as_text(record.method),
        "teacher": describe_teacher(record),
        "start": describe_start(config, upstream),
        "data": as_text(data),
        "train_images": f"{record.figure('train_images') or 0:,.0f}",
        "licence": as_text(terms.name) if terms.name else "not stated",
        "timm": architecture is not None,
        "timm_name": f"hf-hub:{place}",
        "dropkd_name": f"hf:{place}",
        "multi_label": record.is_multi_label,
        "own_module": spec.name == "custom",
        "onnx": onnx,
        "split_sentence": describe_split(record, split),
        "figures": tabulate_figures(record, split),
        "plain": describe_plain(record, split),
        "weakest": list_weakest(record, split, _WEAKEST),
        "limits": list_limits(record, split),
        "making": describe_making(record, config),
        "command": rebuild_command(config),
        "versions": describe_versions(record),
        "licence_text": describe_licence(terms),
        "upstream": [describe_upstream(weights) for weights in upstream],
        "citations": [as_text(text) for text in cite_methods(record.method)],
    }
    body = re.sub(r"\n{3,}", "\n\n", _environment().get_template("model_card.md.j2").render(**values))
    return Card(
        f"---\n{metadata.to_yaml()}\n---\n\n{body.strip()}\n", spec, terms, data, list_warnings(terms, upstream)
    )


def _read_finished(run: Run) -> RunRecord:
    record = read_run(run.folder)
    # The record passes over a damaged file; here it is the one that counts.
    if not run.is_finished:
        raise RunError(
            f"The run {str(run.folder)!r} has not finished, so there are no final figures to tell of. "
            f"Go on with: dropkd resume {run.folder}"
        )
    if record.split is None:
        raise RunError(f"The run {str(run.folder)!r} has neither test nor validation figures to tell of.")
    return record


def _read_spec(run: Run) -> ModelSpec:
    path = run.folder / "student.safetensors"
    spec = read_spec(path)
    if spec is None:
        raise RunError(f"{str(path)!r} is not there, or does not say what network it holds.")
    return spec


def _metadata(
    run: RunRecord, config: Config, split: str, terms: Licence, data: str, upstream: tuple[Upstream, ...], title: str,
    is_timm: bool,
) -> ModelCardData:  # fmt: skip
    hub_data = str(config.data.path).removeprefix("hf:") if str(config.data.path).startswith("hf:") else None
    data_id = re.split("[?@:]", hub_data)[0] if hub_data else re.sub(r"[^\w.-]+", "-", data.lower()).strip("-")
    base = list(dict.fromkeys(weights.repository for weights in upstream if weights.repository))
    unusual = terms.identifier == "other"
    return ModelCardData(
        license=terms.identifier,
        license_name=re.sub(r"[^\w.-]+", "-", (terms.name or "").lower()).strip("-") or None if unusual else None,
        license_link=terms.link if unusual else None,
        library_name="timm" if is_timm else "dropkd",
        pipeline_tag="image-classification",
        tags=["image-classification", *(["timm"] if is_timm else []), "dropkd", "knowledge-distillation", run.method],
        datasets=[data_id] if hub_data and data_id == data else None,
        base_model=base or None,
        metrics=None,
        model_name=title,
        eval_results=list_results(run, split, data, data_id or "images") or None,
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    # Markdown, not HTML: what could be read as either is spelt out where it is put in.
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=False,  # noqa: S701
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
