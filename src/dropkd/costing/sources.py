"""What a user names to be measured, made into networks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from torch import nn

from dropkd.costing.subjects import Origin, Subject, open_network_of
from dropkd.engine.observer import Observer
from dropkd.errors import ConfigError, DropKDError, ModelError
from dropkd.models import Network, wrap_model
from dropkd.models.names import is_model_name
from dropkd.report.run_groups import list_run_folders
from dropkd.run import Run

__all__ = ["find_subjects", "list_files"]

# What stands beside a student's files and describes them.
_DESCRIPTIONS = (".json", ".py", ".part")


@contextmanager
def find_subjects(
    sources: Sequence[str | Path | nn.Module],
    image_size: tuple[int, int] | None,
    num_classes: int | None,
    *,
    teacher: bool,
    onnx: bool | None,
    observer: Observer,
) -> Iterator[list[Subject]]:
    """Give the networks that sources stand for, each under a name of its own; see :func:`measure_costs`.

    Files that are exported for the measurement are gone afterwards. A teacher of several runs is opened once.
    """
    found: list[Subject] = []
    with ExitStack() as stack:
        for source in _spread_groups(sources):
            if isinstance(source, nn.Module):
                found.append(_wrap_module(source, image_size))
            elif isinstance(source, Path):
                run = Run.open(source)
                if image_size is not None or num_classes is not None:
                    flag = "image size" if image_size is not None else "number of classes"
                    raise ConfigError(f"{str(source)!r} is a run, whose student has its own {flag}; name none.")
                student = _open_student(run, onnx, stack, observer)
                found.append(student)
                if teacher:
                    found += _open_teacher(run, student, observer)
            else:
                found.append(_open_named(source, image_size, num_classes))
        yield _name_each(_join_equal(found))


def list_files(subject: Subject) -> dict[str, int]:
    """Return the bytes of a network's files by name: weights, exports; a folder's with all that is in it."""
    if subject.role == "student":
        paths = [path for folder in subject.folders for path in sorted(folder.glob("student*"))]
        paths = [path for path in paths if path.suffix not in _DESCRIPTIONS]
    else:
        source = "" if subject.origin is None else subject.origin.source
        # A file of weights may stand behind the name of its model.
        named = [Path(source), Path(source.partition(":")[2]), Path(source) / "student.safetensors"]
        paths = [path for path in (*named, *subject.exports) if _is_file(path)]
    return {path.name: _count_bytes(path) for path in paths}


def _count_bytes(path: Path) -> int:
    if path.is_dir():
        return sum(part.stat().st_size for part in path.rglob("*") if part.is_file())
    return path.stat().st_size


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # Too long for a path.
        return False


def _spread_groups(sources: Sequence[str | Path | nn.Module]) -> Iterator[str | Path | nn.Module]:
    """Return run folders as paths, each once, and all else as it is; those of a group one by one.

    Raises:
        ConfigError: nothing is named.
    """
    if not sources:
        raise ConfigError("Name what is to be measured: run folders, models, ONNX files.")
    seen = set()
    for source in sources:
        if isinstance(source, nn.Module):
            yield source
        elif is_model_name(str(source)) or not Path(source).is_dir():
            yield str(source)
        else:
            for folder in list_run_folders(Path(source)):
                if folder.resolve() not in seen:
                    seen.add(folder.resolve())
                    yield folder


def _wrap_module(module: nn.Module, image_size: tuple[int, int] | None) -> Subject:
    network = module if isinstance(module, Network) else wrap_model(module, image_size=image_size)
    name = type(module).__name__ if network.spec.name == "custom" else network.spec.name
    note = "Memory was not measured: no other process can open a module of this one."
    return Subject(name, "network", network.eval(), None, notes=(note,))


def _open_named(source: str, image_size: tuple[int, int] | None, num_classes: int | None) -> Subject:
    if Path(source).suffix == ".onnx":
        path = Path(source)
        if not _is_file(path):
            raise ModelError(f"There is no file {source!r}.")
        return Subject(path.name, "network", None, None, exports=(path,))
    kind = "model" if is_model_name(source) else "teacher"
    origin = Origin(kind, source, image_size, num_classes)
    return Subject(source, "network", open_network_of(origin), origin)


def _open_student(run: Run, onnx: bool | None, stack: ExitStack, observer: Observer) -> Subject:
    origin = Origin("run", str(run.folder))
    network = open_network_of(origin)
    exports = () if onnx is False else tuple(sorted(run.folder.glob("*.onnx")))
    notes: tuple[str, ...] = ()
    if onnx and not exports:
        from dropkd.export import export_run

        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dropkd-cost-")))
        observer.on_message(f"Exporting {run.folder} as ONNX to time it ...")
        exports = (export_run(run, output=folder / "student.onnx").path,)
        notes = ("student.onnx was exported for this measurement and is not kept.",)
    return Subject(run.folder.name, "student", network, origin, exports, (run.folder,), notes)


def _open_teacher(run: Run, student: Subject, observer: Observer) -> list[Subject]:
    """Return a run's teacher, or nothing where it has none or it can't be opened any more."""
    if run.config.teacher is None or student.network is None:
        return []
    chosen, spec = run.config.teacher, student.network.spec
    size = tuple(chosen.image_size) if isinstance(chosen.image_size, list) else chosen.image_size
    try:
        if Path(chosen.source).suffix == ".onnx":
            found = _open_named(chosen.source, None, None)
        else:
            kind = "model" if is_model_name(chosen.source) else "teacher"
            side = (size, size) if isinstance(size, int) else size
            origin = Origin(kind, chosen.source, side, None, spec.classes, spec.image_size)
            found = Subject(_shorten(chosen.source), "teacher", open_network_of(origin), origin)
    except DropKDError as error:
        observer.on_warning(f"The teacher of {run.folder} is left out: {error}")
        return []
    return [replace(found, role="teacher", folders=(run.folder,))]


def _shorten(source: str) -> str:
    """Return the last part of a path, and anything else whole."""
    path = Path(source)
    return path.name if path.is_absolute() else source


def _join_equal(subjects: Sequence[Subject]) -> list[Subject]:
    """Join those of the same origin, such as the teacher of several runs."""
    found: list[Subject] = []
    for subject in subjects:
        twin = next((k for k, other in enumerate(found) if _is_same(other, subject)), None)
        if twin is None:
            found.append(subject)
        else:
            found[twin] = replace(found[twin], folders=(*found[twin].folders, *subject.folders))
    return found


def _is_same(one: Subject, other: Subject) -> bool:
    alike = one.role == other.role and one.exports == other.exports and one.origin == other.origin
    return alike and (one.origin is not None or one.network is None)


def _name_each(subjects: Sequence[Subject]) -> list[Subject]:
    """Give each a name that no other one has: its role, its folder, a number are added until it does."""
    named: list[Subject] = []
    for subject in subjects:
        others = {other.name for other in named}
        names = [subject.name, f"{subject.name} ({subject.role})"]
        names += [str(folder) for folder in subject.folders]
        names += [f"{subject.name} ({number})" for number in range(2, len(subjects) + 2)]
        named.append(replace(subject, name=next(name for name in names if name not in others)))
    return named
