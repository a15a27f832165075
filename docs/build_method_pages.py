"""Write the reference page of every method from its docstring, its options and its terms.

python docs/build_method_pages.py            # writes docs/methods/*.md
python docs/build_method_pages.py --check    # says which pages are out of date, and fails if any is
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import textwrap
from pathlib import Path

from dropkd.config.yaml_text import write_yaml
from dropkd.methods import Method, method_class, method_names, method_options

FOLDER = Path(__file__).parent / "methods"
SECTIONS = ("Equation", "Terms", "Trains", "Args", "Note", "References", "Example")


def build_pages() -> dict[str, str]:
    """Return the text of every page by its file name."""
    classes = {name: method_class(name) for name in method_names() if _is_own(method_class(name))}
    pages = {f"{name}.md": write_page(name, cls) for name, cls in classes.items()}
    return pages | {"README.md": write_index(classes)}


def write_page(name: str, cls: type[Method]) -> str:
    """Return the page of one method."""
    parts = split_docstring(inspect.getdoc(cls) or "")
    needs_teacher = "--teacher TEACHER " if cls.teacher_reads else ""
    blocks = [
        f"# {cls.__name__}",
        parts["summary"],
        f"    dropkd distill photos {needs_teacher}--student STUDENT --method {name}",
        _table_facts(cls),
        "## Equation\n\n" + _write_equation(parts["Equation"]) if "Equation" in parts else "",
        "## Terms\n\n" + _table_terms(cls, parts.get("Terms", "")),
        "## Options\n\n" + _table_options(cls),
        "## What is trained\n\n" + _plain_code(parts.get("Trains", "")),
        "## Notes\n\n" + _plain_code(parts["Note"]) if "Note" in parts else "",
        "## Reference\n\n" + _plain_code(parts["References"]) if "References" in parts else "",
        "## Example\n\n```python\n" + _write_example(parts["Example"]) + "\n```" if "Example" in parts else "",
        f"## Recipe\n\n[recipes/methods/{name}.yaml](../../recipes/methods/{name}.yaml)",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def write_index(classes: dict[str, type[Method]]) -> str:
    """Return the page that lists all methods."""
    rows = [
        f"| [{name}]({name}.md) | {split_docstring(inspect.getdoc(cls) or '')['title']} | "
        f"{_list(cls.teacher_reads) or 'no teacher'} | {_list_weights(cls)} |"
        for name, cls in classes.items()
    ]
    return "\n".join(
        [
            "# Methods",
            "",
            "Each is chosen by `--method NAME`; several together by `--method kd+at`, whose terms are then called",
            "`kd_logit` and `at_attention` and whose options `method.kd.temperature` and the like.",
            "`dropkd methods NAME` shows the same options. [Which runs on which pair of networks](../pairs.md).",
            "",
            "| method | what the student learns | reads of the teacher | terms (default weight) |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def split_docstring(docstring: str) -> dict[str, str]:
    """Return the sections of a method's docstring by name, and ``title`` and ``summary`` from what stands before."""
    pieces = re.split(rf"^({'|'.join(SECTIONS)}):\n", docstring, flags=re.MULTILINE)
    parts = {name: textwrap.dedent(text).strip() for name, text in zip(pieces[1::2], pieces[2::2], strict=True)}
    head = pieces[0].strip()
    return {**parts, "title": head.partition("\n\n")[0].replace("\n", " "), "summary": _plain_code(head)}


def _is_own(cls: type[Method]) -> bool:
    return cls.__module__.startswith("dropkd.")


def _list(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


def _list_weights(cls: type[Method]) -> str:
    return ", ".join(f"{term} ({weight:g})" for term, weight in cls.terms.items()) or "none"


def _table_facts(cls: type[Method]) -> str:
    rows = {
        "reads of the student": _list(cls.student_reads) or "nothing",
        "reads of the teacher": _list(cls.teacher_reads) or "needs none",
        "teacher with the student's classes": f"for {', '.join(sorted(cls.label_space_terms))}"
        if cls.label_space_terms
        else "not needed",
        "views of each image": ", ".join(cls.views),
        "fewest images in a batch": str(cls.least_batch),
        "weight of the cross-entropy": f"{cls.cross_entropy_weight:g}",
        "warm-up": f"{cls.warmup_epochs:g} epochs, at most a twelfth of all" if cls.warmup_epochs else "none",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())])


def _write_equation(text: str) -> str:
    formulas, _, words = text.partition("\n\n")
    shown = "\n\n".join(f"```math\n{line}\n```" for line in _join_continued(formulas))
    return f"{shown}\n\n{_plain_code(words)}".strip()


def _join_continued(formulas: str) -> list[str]:
    r"""Return one formula a line; a line that is indented or starts with \quad goes on with the one before."""
    lines: list[str] = []
    for line in formulas.splitlines():
        if line.startswith((" ", r"\quad")) and lines:
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line.strip())
    return lines


def _table_terms(cls: type[Method], text: str) -> str:
    if not cls.terms:
        return "None: the labels' cross-entropy alone."
    meanings = dict(re.findall(r"^(\w+): (.*(?:\n[ ]+.*)*)", text, flags=re.MULTILINE))
    rows = [
        f"| `{term}` | {weight:g} | {' '.join(_plain_code(meanings.get(term, '')).split())} |"
        for term, weight in cls.terms.items()
    ]
    return "\n".join(["| term | default weight | what it is |", "|---|---|---|", *rows])


def _table_options(cls: type[Method]) -> str:
    options = method_options(cls).values()
    if not options:
        return "None."
    rows = [
        f"| `method.{option.name}` | `{write_yaml(option.default).splitlines()[0]}` | {option.constraint} | "
        f"{_plain_code(option.description)} |"
        for option in options
    ]
    return "\n".join(["| key | default | range | what it does |", "|---|---|---|---|", *rows])


def _write_example(text: str) -> str:
    """Return a doctest as a script, what it prints as comments."""
    lines = [line[4:] if line.startswith((">>> ", "... ")) else f"# {line}" for line in text.splitlines()]
    imports = next(i for i, line in enumerate(lines) if not line.startswith(("import ", "from ")))
    return "\n".join([*lines[:imports], "", *lines[imports:]])


def _plain_code(text: str) -> str:
    """Return text whose code is marked as in Markdown."""
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text.replace("``", "`"))


def main() -> None:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    pages = build_pages()
    stale = [name for name, text in pages.items() if _read(FOLDER / name) != text]
    stale += [path.name for path in FOLDER.glob("*.md") if path.name not in pages]
    if arguments.check:
        sys.exit(f"Out of date: {', '.join(sorted(stale))}. Run python {Path(__file__).name}." if stale else 0)
    FOLDER.mkdir(exist_ok=True)
    for name in stale:
        if name in pages:
            (FOLDER / name).write_text(pages[name], encoding="utf-8")
        else:
            (FOLDER / name).unlink()


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


if __name__ == "__main__":
    main()
