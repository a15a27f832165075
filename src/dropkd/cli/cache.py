"""``dropkd cache``: a teacher's answers on disk."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dropkd.cli import options as flags
from dropkd.errors import ConfigError

if TYPE_CHECKING:
    from dropkd.teacher_cache import CacheFolder

__all__ = ["app"]

app = typer.Typer(
    name="cache",
    help="Ask a teacher once and keep what it says, for any number of students, seeds and rates.",
    rich_markup_mode="rich",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Folder = Annotated[
    Path | None,
    typer.Option(
        "--folder", metavar="FOLDER", help="Of all caches. Default: teachers in $DROPKD_CACHE or ~/.cache/dropkd."
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command()
def build(
    context: typer.Context,
    data: flags.Data = None,
    teacher: Annotated[
        str | None, typer.Option("--teacher", "-t", metavar="TEACHER", help="As for `dropkd distill`.")
    ] = None,
    student: Annotated[
        str | None,
        typer.Option("--student", metavar="NAME", help="Maps are kept at the size that this student's have."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", metavar="NAME", help="What it reads of the teacher is kept. Default: dropkd."),
    ] = None,
    views: flags.Views = None,
    epochs: flags.Epochs = None,
    batch_size: flags.BatchSize = None,
    image_size: flags.ImageSize = None,
    skip_unreadable: flags.SkipUnreadable = None,
    verify: flags.Verify = None,
    label_map: flags.LabelMap = None,
    config: flags.ConfigFile = None,
    set_: flags.Set = None,
    seed: flags.Seed = None,
    device: flags.Device = None,
    workers: flags.Workers = None,
    threads: flags.Threads = None,
) -> None:
    """Ask a teacher about the views that a training will show, before it starts.

    The same command line as for [bold]dropkd distill[/bold] finds the cache again. Runs that share
    data.view_seed and data.split_seed share it whatever their own seed, rates and weights.

    Examples:
      dropkd cache build photos -t runs/teacher --student resnet18 --views 8
      dropkd cache build photos -t runs/teacher --student resnet18 --method kd --epochs 30
    """
    from dropkd import api
    from dropkd.cli.progress import Progress
    from dropkd.cli.tables import print_line

    settings = flags.assemble_config(context.params, defaults={"method.name": "dropkd"})
    if settings.teacher is None:
        raise ConfigError("--teacher is missing: whose answers to keep.")
    with Progress() as progress:
        path = api.build_cache(settings, observer=progress)
    print_line("teacher cache", path)


@app.command("list")
def list_all(folder: _Folder = None, as_json: _Json = False) -> None:
    """List the caches, the newest first."""
    from dropkd.cli.console import output
    from dropkd.cli.tables import add_row, make_table
    from dropkd.files import say_bytes
    from dropkd.teacher_cache import cache_root, list_caches

    root = cache_root(folder)
    caches = list_caches(root)
    if as_json:
        output.print_json(json.dumps([_describe(cache) for cache in caches]))
        return
    if not caches:
        output.print(f"No teacher cache in {root}", markup=False, soft_wrap=True)
        return
    table = make_table("name", "teacher", "data", "method", "views", "size", "used", figures=False)
    total = 0
    for cache in caches:
        facts = _describe(cache)
        total += facts["bytes"]
        used = datetime.fromtimestamp(cache.last_used).strftime("%Y-%m-%d")
        names = [facts.get(key, "") for key in ("teacher", "data", "method")]
        add_row(table, cache.path.name, *names, facts["views"], say_bytes(facts["bytes"]), used)
    output.print(table)
    output.print(f"{say_bytes(total)} in {root}", markup=False, soft_wrap=True)


@app.command()
def info(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the cache, or how it begins.", show_default=False)],
    folder: _Folder = None,
    as_json: _Json = False,
) -> None:
    """Say what a cache holds: bytes an image, distinct views, and what its answers depend on."""
    from dropkd.cli.console import output
    from dropkd.cli.tables import add_row, make_table
    from dropkd.files import say_bytes
    from dropkd.teacher_cache import cache_root
    from dropkd.teacher_cache.keeping import find_cache

    cache = find_cache(cache_root(folder), name)
    facts = _describe(cache)
    if as_json:
        output.print_json(json.dumps({**facts, "key": cache.key.fields}))
        return
    table = make_table("part", "of an image", "kept as", "bytes", figures=False)
    for part in cache.parts:
        encoding = part.to_dict()
        kept = ", ".join(f"{key} {encoding[key]}" for key in ("number", "grid", "channels", "top") if key in encoding)
        add_row(table, part.name, " x ".join(map(str, part.shape)), kept.removeprefix("number "), part.bytes_per_image)
    output.print(table)
    output.print(
        f"{facts['views']} distinct views of {cache.rows:,} answers, {cache.bytes_per_row:,} bytes each; "
        f"{say_bytes(facts['bytes'])} in {cache.path}",
        markup=False,
        soft_wrap=True,
    )
    output.print_json(json.dumps(cache.key.fields))


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Default: all.", show_default=False)
    ] = None,
    folder: _Folder = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove what is damaged; the next run computes it anew.")
    ] = False,
) -> None:
    """Read every byte and compare it with what was written. Exit code 2 where something is damaged."""
    from dropkd.cli.console import output
    from dropkd.cli.progress import Progress
    from dropkd.teacher_cache import cache_root, list_caches
    from dropkd.teacher_cache.keeping import find_cache, find_damaged

    root = cache_root(folder)
    caches = [find_cache(root, name) for name in names] if names else list_caches(root)
    damaged = 0
    for cache in caches:
        with Progress() as progress:
            found = find_damaged(cache, lambda done, total: progress.on_phase("Reading the cache", done, total))
        for shard in found:
            output.print(f"damaged: {cache.path / shard.file}", markup=False, soft_wrap=True)
            if remove:
                cache.forget(shard)
        damaged += len(found)
        words = "intact" if not found else f"{len(found)} of them damaged{', removed' if remove else ''}"
        output.print(f"{cache.path.name}: {len(cache.known()):,} shards, {words}")
    if damaged and not remove:
        raise typer.Exit(2)


@app.command()
def prune(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="These caches.", show_default=False)
    ] = None,
    folder: _Folder = None,
    unused_days: Annotated[
        float | None, typer.Option("--unused-days", metavar="N", min=0, help="Those that no run used for N days.")
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option("--max-size", metavar="SIZE", help="The longest unused, until the rest fits, e.g. 50GB."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which.")] = False,
) -> None:
    """Remove caches.

    Examples:
      dropkd cache prune 3f9a
      dropkd cache prune --unused-days 30 --max-size 50GB
    """
    from dropkd.cli.console import output
    from dropkd.files import say_bytes
    from dropkd.teacher_cache import cache_root, list_caches
    from dropkd.teacher_cache.keeping import choose_old, find_cache, forget_orphans

    root = cache_root(folder)
    if not (names or everything or unused_days is not None or max_size is not None):
        raise ConfigError("Say which caches to remove: by NAME, --unused-days, --max-size or --all.")
    if everything:
        chosen = list_caches(root)
    elif names:
        chosen = [find_cache(root, name) for name in names]
    else:
        limit = None if max_size is None else _read_size(max_size)
        chosen = choose_old(list_caches(root), unused_days=unused_days, max_bytes=limit)
    for cache in chosen:
        size = say_bytes(cache.size)
        if not dry_run:
            cache.remove()
        output.print(f"{'would remove' if dry_run else 'removed'} {cache.path.name} ({size})")
    if not chosen:
        output.print("Nothing to remove.")
    elif not dry_run:
        forget_orphans(root)


def _describe(cache: CacheFolder) -> dict[str, Any]:
    return {
        "name": cache.path.name,
        "path": str(cache.path),
        **cache.labels,
        "created": cache.created,
        "rows": cache.rows,
        "views": cache.views(),
        "bytes_per_row": cache.bytes_per_row,
        "bytes": cache.size,
        "parts": [part.to_dict() for part in cache.parts],
    }


def _read_size(text: str) -> int:
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([KMGT]?)B?\s*", text, re.IGNORECASE)
    if match is None:
        raise ConfigError(f"--max-size must be a size such as 500MB or 50GB, got {text!r}.")
    return int(float(match[1]) * 1000 ** " KMGT".index(match[2].upper() or " "))
