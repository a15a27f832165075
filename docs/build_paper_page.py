"""Write the index of the paper's numbers: for each of Tables 1 to 5 its recipe, and the commands that make it.

python docs/build_paper_page.py            # writes recipes/paper/README.md
python docs/build_paper_page.py --check    # fails if that page is out of date
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from textwrap import fill, wrap
from typing import Any

from dropkd.config import Config, load_config
from dropkd.config.extending import read_chain
from page_file import write_or_check

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "recipes" / "paper"
PAGE = RECIPES / "README.md"
TABLES: dict[str, Any] = json.loads((RECIPES / "tables.json").read_text(encoding="utf-8"))

# What is said of a recipe, in the comments at its head.
REMARKS = ("Stated", "Decided here")
# The methods' own recipes have pages of their own.
SHARED = RECIPES / "raf-db.yaml"


@dataclass(frozen=True)
class Entry:
    """A number of the paper, or the three of a row of Table 5, and the recipe that makes it.

    Args:
        table: ``table1`` and so on.
        row: what the row is about; equal for all entries of a row.
        column: the method, or the model where the table has one a row.
        published: the numbers as they are printed.
        recipe: the file.
    """

    table: str
    row: str
    column: str
    published: tuple[float, ...]
    recipe: Path

    @cached_property
    def config(self) -> Config:
        """The recipe as it resolves."""
        return load_config(self.recipe)

    @property
    def run(self) -> str:
        """The run folder that it writes."""
        return str(self.config.output)

    @property
    def source(self) -> Path:
        """The recipe that the run is of: another one's, where two tables print one number."""
        return RECIPES / Path(self.run).relative_to("runs/paper").with_suffix(".yaml")


def list_entries() -> list[Entry]:
    """Return every number of Tables 1 to 5, in the order of the paper."""
    return [*_list_pairs(), *_list_models()]


def _list_pairs() -> Iterator[Entry]:
    """Return the entries of the tables that have a pair a row and a method a column."""
    for table in ("table1", "table2", "table3"):
        rows = TABLES[table]["rows"]
        for row in rows:
            folder = RECIPES / table / (f"{row['teacher']}-{row['student']}" if len(rows) > 1 else "")
            about = f"{row.get('printed_teacher', row['teacher'])} → {row['student']}"
            methods = [name for name in row if name not in ("teacher", "student", "printed_teacher")]
            for name in methods:
                if row[name] is not None:
                    column = name.removesuffix("_acc")
                    yield Entry(table, about, column, (row[name],), folder / f"{column.lower()}.yaml")


def _list_models() -> Iterator[Entry]:
    """Return the entries of the tables that have a model a row."""
    for table in ("table4", "table5"):
        for row in TABLES[table]["rows"]:
            numbers = tuple(row[key] for key in TABLES[table].get("metrics", ("acc",)))
            yield Entry(table, "", row["model"], numbers, RECIPES / table / f"{_file_name(row['model'])}.yaml")


def _file_name(model: str) -> str:
    """Return the name of a model's recipe.

    Example:
        >>> _file_name("SCN (ResNet18)"), _file_name("ResNet18 + DropKD")
        ('scn-resnet18', 'resnet18-dropkd')
    """
    return "-".join(re.findall(r"\w+", model.lower()))


def list_remarks(recipe: Path) -> list[tuple[str, str]]:
    """Return what the comments of a recipe and of those that it starts from say: the kind of remark and its text.

    The recipes of the methods are left out, and so is what all of RAF-DB shares, unless that file itself is asked for.
    """
    files = [file.resolve() for file, _ in read_chain(recipe)]
    own = [file for file in files if RECIPES in file.parents and (file != SHARED or recipe == SHARED)]
    return [remark for file in own for remark in _read_remarks(file)]


def _read_remarks(file: Path) -> Iterator[tuple[str, str]]:
    head = re.match(r"(#.*\n)*", file.read_text(encoding="utf-8"))
    joined = re.sub(r"\n#   +", " ", head.group() if head else "")
    for line in joined.splitlines():
        kind, colon, text = line.removeprefix("# ").partition(": ")
        if colon and kind in REMARKS:
            yield kind, text


def build_page() -> str:
    """Return the text of the page."""
    entries = list_entries()
    sections = [_write_table(table, [entry for entry in entries if entry.table == table], entries) for table in TITLES]
    start = INTRODUCTION.format(source=_fill(f"Source: {TABLES['source']}"), shared=_write_remarks([(SHARED, "")]))
    return "\n\n".join([start, *sections]) + "\n"


INTRODUCTION = """# The numbers of the DropKD paper

For each number of Tables 1 to 5 a recipe, and the commands that make it, in order. This page is written by
`docs/build_paper_page.py` from the recipes and from `tables.json`, which holds the printed numbers.

{source}

Nothing of it is public but the supplement: no code, no weights, no text of the method. So each recipe says what is
*stated* there and what is *decided here*, and no number on this page was reproduced yet: that takes the data sets and a
GPU. What was measured, on other images, is in [docs/dropkd.md](../../docs/dropkd.md) and
[docs/method-evidence.md](../../docs/method-evidence.md).

* Run the commands from the root of the repository. Each writes its run folder under `runs/paper/`, where the next one
  finds its teacher; two tables that print one number share the run.
* `--dry-run` behind any of them says what it would do, how long it takes and how much memory it needs.
* CIFAR-100 is looked for in `data/`; `--set 'data.path=torchvision:CIFAR100?download=true'` fetches it. RAF-DB is
  looked for in `raf-db/`, with the folders `basic/` and `compound/` as it is handed out
  ([docs/faces.md](../../docs/faces.md)); `--set data.path=FOLDER` names another place.
* A row's number needs more than one seed: `--seed 1 --output runs/paper/table2/kd-1`.
* A recipe is what it extends and a few lines more. The settings of a method are those of its own recipe in
  [recipes/methods](../methods).

## What all of RAF-DB shares

{shared}"""

TITLES = {
    "table1": "CIFAR-100, CNN to CNN, top-1 %",
    "table2": "RAF-DB, transformer to transformer, top-1 %",
    "table3": "RAF-DB, CNN to transformer, top-1 %",
    "table4": "RAF-DB, beside the state of the art, top-1 %",
    "table5": "compound emotions of RAF-DB, trained on the basic ones, %",
}
NOTES = {
    "table4": "The costs that this table prints as well, and the rule that gives each of them, are in\n"
    "[docs/models.md](../../docs/models.md#what-a-model-costs); `dropkd models resnet18 --macs --image-size 224 "
    "--classes 7`\ncounts them.",
    "table5": "The three numbers: both of the two best classes are the pair of the label; the best one is in the pair; "
    "one of the\ntwo best is in the pair.",
}


def _write_table(table: str, entries: Sequence[Entry], everything: Sequence[Entry]) -> str:
    blocks = [f"## Table {table[-1]}: {TITLES[table]}", NOTES.get(table, "")]
    for row in dict.fromkeys(entry.row for entry in entries):
        chosen = [entry for entry in entries if entry.row == row]
        blocks += [f"### {row}" if row else "", _write_numbers(chosen, everything), _write_commands(chosen, everything)]
        blocks.append(_write_remarks([(entry.recipe, entry.column) for entry in chosen]))
    return "\n\n".join(block for block in blocks if block)


def _write_numbers(entries: Iterable[Entry], everything: Iterable[Entry]) -> str:
    runs = {entry.run: entry for entry in everything}
    lines = ["| | published | recipe | trained | teacher | method | training |", "|---|---|---|---|---|---|---|"]
    for entry in entries:
        config, recipe = entry.config, entry.recipe.relative_to(RECIPES).as_posix()
        teacher = f"`{runs[config.teacher.source].config.student.name}`" if config.teacher is not None else ""
        cells = (
            entry.column,
            " / ".join(f"{number:.2f}" for number in entry.published),
            f"[{recipe}]({recipe})",
            f"`{config.student.name}`",
            teacher,
            f"[{config.method.name}](../../docs/methods/{config.method.name}.md)",
            f"{config.training.epochs} epochs of {config.training.optimizer}, batches of {config.training.batch_size}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _write_commands(entries: Sequence[Entry], everything: Sequence[Entry]) -> str:
    """Return the commands that make some numbers, teachers first, as a block."""
    by_run = {entry.run: entry for entry in everything if entry.source == entry.recipe}
    order: dict[str, Entry] = {}
    for entry in entries:
        teacher = entry.config.teacher
        if teacher is not None:
            order.setdefault(teacher.source, by_run[teacher.source])
        order.setdefault(entry.run, by_run[entry.run])
    lines = [command_of(entry) + _say_where(entry, entries[0].table) for entry in order.values()]
    runs = [entry.run for entry in entries]
    if entries[0].table == "table5":
        lines += [f"dropkd evaluate {run} raf-db/compound --task compound" for run in runs]
    report = f"dropkd report --output {_name_report(entries[0])}.html {' '.join(runs)}"
    lines.append(" \\\n".join(wrap(report, 116, subsequent_indent="    ", break_on_hyphens=False)))
    return "```sh\n" + "\n".join(lines) + "\n```"


def command_of(entry: Entry) -> str:
    """Return the command that makes a number's run."""
    verb = "train" if entry.config.method.name == "plain" else "distill"
    return f"dropkd {verb} --config {entry.source.relative_to(ROOT).as_posix()}"


def _say_where(entry: Entry, table: str) -> str:
    return "" if entry.table == table else f"    # the run of Table {entry.table[-1]}"


def _name_report(entry: Entry) -> str:
    folder = entry.recipe.parent
    return entry.table if folder.name == entry.table else f"{entry.table}-{folder.name}"


def _write_remarks(recipes: Sequence[tuple[Path, str]]) -> str:
    """Return the remarks on some recipes, each once, with the names of those that it holds for unless it is all."""
    holds: dict[tuple[str, str], list[str]] = {}
    for recipe, name in recipes:
        for remark in list_remarks(recipe):
            holds.setdefault(remark, []).append(name)
    lines = []
    for kind in REMARKS:
        for (of, text), names in holds.items():
            if of == kind:
                who = f", {', '.join(names)}" if len(names) < len(recipes) else ""
                lines.append(_fill(f"* *{kind}*{who}: {text}"))
    return "\n".join(lines)


def _fill(text: str) -> str:
    return fill(text, 118, subsequent_indent="  " if text.startswith("*") else "", break_on_hyphens=False)


if __name__ == "__main__":
    write_or_check(PAGE, build_page, Path(__file__), __doc__)
