"""``dropkd methods`` and ``dropkd models``."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated

import typer

from dropkd.cli.options import parse_image_size

if TYPE_CHECKING:
    from dropkd.methods.method import Method

__all__ = ["methods", "models", "say_count"]


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
    macs: Annotated[bool, typer.Option("--macs", help="Count parameters and multiply-adds of one image.")] = False,
    image_size: Annotated[
        str | None,
        typer.Option("--image-size", metavar="N|HxW", help="With --macs: of this size. Default: each model's own."),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option("--classes", metavar="K", help="With --macs: a head for K classes. Default: each model's own."),
    ] = None,
) -> None:
    """List the models that can be a student or a teacher, and what they cost.

    Examples:
      dropkd models 'mobilenet*'
      dropkd models '*vit*' --pretrained
      dropkd models resnet18 --macs --image-size 224 --classes 7
    """
    from dropkd.cli.console import output
    from dropkd.cli.tables import add_row, make_table
    from dropkd.errors import ConfigError, ModelError
    from dropkd.models import model_names

    if not macs and (image_size is not None or classes is not None):
        flag = "--image-size" if image_size is not None else "--classes"
        raise ConfigError(f"{flag} says what is counted: give --macs as well.")
    found = model_names(pattern, pretrained_only=pretrained)
    if not found:
        raise ModelError(f"No model's name matches {pattern!r}. A pattern may hold *, as in 'resnet*'.")
    if macs:
        _print_costs([model.name for model in found], image_size, classes)
        return
    table = make_table("model", "source", "published weights", figures=False)
    for model in found:
        add_row(table, model.name, model.source, "yes" if model.pretrained else "")
    output.print(table)
    output.print(_say_models(len(found)))


def _print_costs(names: list[str], image_size: str | None, classes: int | None) -> None:
    from rich.text import Text

    from dropkd.cli.console import errors, output
    from dropkd.cli.tables import add_row, make_table
    from dropkd.errors import ConfigError, ModelError
    from dropkd.metrics import measure_cost

    size = parse_image_size(image_size)
    if isinstance(size, str):
        raise ConfigError(f"--image-size: must be a whole number of pixels, or HxW, got {size!r}.")
    if classes is not None and classes < 1:
        raise ConfigError(f"--classes: must be at least 1, got {classes}.")
    table = make_table("model", "image", "parameters", "multiply-adds", "with norms and activations")
    problems = []
    with errors.status("Counting") as status:
        for number, name in enumerate(names, 1):
            status.update(Text(f"Counting {name} ({number} of {len(names)})"))
            try:
                cost = measure_cost(name, size, classes)
            except ModelError as error:
                problems.append(str(error))
                continue
            numbers = (cost.parameters, cost.macs, cost.macs + cost.elementwise)
            add_row(table, name, f"{cost.image_size[0]}x{cost.image_size[1]}", *map(say_count, numbers))
    if len(problems) == len(names):
        raise ModelError("\n".join(problems))
    output.print(table)
    output.print(f"{_say_models(len(names) - len(problems))}; a multiply-add counts once, a G is 1,000,000,000.")
    for problem in problems:
        errors.print(Text.assemble(("warning: ", "bold yellow"), problem), soft_wrap=True)


def _say_models(count: int) -> str:
    return f"{count:,} model" if count == 1 else f"{count:,} models"


def say_count(number: int) -> str:
    """Return a count to four digits: ``1.814 G``, ``11.18 M``, ``78.04 k``."""
    exponent, sign = next(((e, s) for e, s in ((9, "G"), (6, "M"), (3, "k")) if number >= 10**e), (0, ""))
    return f"{f'{number / 10**exponent:#.4g}'.rstrip('.')} {sign}" if sign else str(number)


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
    warmups = {term: cls.warmup_of(term) for term in cls.terms}
    if len(set(warmups.values())) > 1:
        return ", ".join(f"{term} {epochs:g}" for term, epochs in warmups.items())
    return f"{max(warmups.values(), default=0.0):g}"


def _list_terms(cls: type[Method]) -> str:
    return ", ".join(f"{term} ({weight:g})" for term, weight in cls.terms.items()) or "none"


def _summarise(cls: type[Method]) -> str:
    return (inspect.getdoc(cls) or "").partition("\n\n")[0].replace("\n", " ")
