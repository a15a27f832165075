"""``dropkd methods`` and ``dropkd models``."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dropkd.methods.method import Method

__all__ = ["methods", "models"]


def methods(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Show the options of this one.", show_default=False)
    ] = None,
) -> None:
    """List the distillation methods, or one method's terms and options.

    Examples:
      dropkd methods
      dropkd methods dropkd
    """
    from rich.text import Text

    from dropkd.cli.console import errors
    from dropkd.methods.registry import load_methods, method_class

    if name is None:
        found, problems = load_methods()
        _print_methods(found)
        for problem in problems:
            errors.print(Text.assemble(("warning: ", "bold yellow"), problem), soft_wrap=True)
    else:
        _print_method(name, method_class(name))


def models(
    pattern: Annotated[
        str, typer.Argument(metavar="[PATTERN]", help="Names to list, e.g. 'resnet*'.", show_default=False)
    ] = "*",
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Only those with published weights.")] = False,
) -> None:
    """List the models that can be a student or a teacher.

    Examples:
      dropkd models 'mobilenet*'
      dropkd models '*vit*' --pretrained
    """
    from dropkd.cli.console import output
    from dropkd.cli.tables import add_row, make_table
    from dropkd.errors import ModelError
    from dropkd.models import model_names

    wanted = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    found = model_names(wanted, pretrained_only=pretrained)
    if not found:
        raise ModelError(f"No model's name matches {pattern!r}. A pattern may hold *, as in 'resnet*'.")
    table = make_table("model", "source", "published weights", figures=False)
    for model in found:
        add_row(table, model.name, model.source, "yes" if model.pretrained else "")
    output.print(table)
    output.print(f"{len(found):,} models")


def _print_methods(classes: dict[str, type[Method]]) -> None:
    from dropkd.cli.console import output
    from dropkd.cli.tables import add_row, make_table

    table = make_table("method", "reads of the teacher", "terms (default weight)", "what it does", figures=False)
    for name, cls in classes.items():
        add_row(
            table,
            name,
            ", ".join(sorted(cls.teacher_reads)) or "no teacher",
            _list_terms(cls),
            _summarise(cls),
        )
    output.print(table)
    output.print("Options of one: dropkd methods NAME")


def _print_method(name: str, cls: type[Method]) -> None:
    from dropkd.cli.console import output
    from dropkd.cli.tables import add_row, make_table
    from dropkd.config.yaml_text import write_yaml
    from dropkd.methods.registry import method_options

    output.print(f"{name}: {_summarise(cls)}", markup=False)
    table = make_table("key", "default", "range", "what it does", figures=False)
    for option in method_options(cls).values():
        add_row(
            table,
            f"method.{option.name}",
            write_yaml(option.default).split("\n")[0],
            option.constraint,
            option.description,
        )
    table.add_section()
    weights = {"cross_entropy": cls.cross_entropy_weight, **cls.terms}
    for term, weight in weights.items():
        meaning = "weight of the labels' cross-entropy" if term == "cross_entropy" else f"weight of the term {term}"
        add_row(table, f"method.weights.{term}", f"{weight:g}", "a number, at least 0", meaning)
    add_row(
        table,
        "method.warmup_epochs",
        _describe_warmups(cls),
        "a number, at least 0, or one for each term",
        "epochs over which the terms grow to their weights; by default at most a twelfth of all epochs",
    )
    output.print(table)
    output.print(f"Set one: dropkd distill ... --method {name} --set KEY=VALUE", markup=False)


def _describe_warmups(cls: type[Method]) -> str:
    from dropkd.methods.combination import Combined

    if not issubclass(cls, Combined):
        return f"{cls.warmup_epochs:g}"
    return ", ".join(f"{name} {part.warmup_epochs:g}" for name, part in cls.parts.items())


def _list_terms(cls: type[Method]) -> str:
    return ", ".join(f"{term} ({weight:g})" for term, weight in cls.terms.items()) or "none"


def _summarise(cls: type[Method]) -> str:
    return (inspect.getdoc(cls) or "").partition("\n\n")[0].replace("\n", " ")
