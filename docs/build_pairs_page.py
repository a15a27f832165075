"""Write the page that says which method runs on which kind of pair, by letting each take a step on each.

python docs/build_pairs_page.py            # writes docs/pairs.md
python docs/build_pairs_page.py --check    # fails if that page is out of date
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import torch

from dropkd.engine.distiller import Distiller
from dropkd.errors import DropKDError
from dropkd.methods import Method, method_class, method_names
from dropkd.models import Network, build_network
from page_file import write_or_check

PAGE = Path(__file__).parent / "pairs.md"
SIZE, CLASSES, IMAGES = (32, 32), 10, 4

# Small ones of each kind, so that a step takes a fraction of a second.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "cifar_resnet8": ("cifar_resnet8", {}),
    "ResNet-10": ("resnet10t", {}),
    "MobileNetV2": ("mobilenetv2_035", {}),
    "ViT": ("vit_tiny_patch16_224", {"patch_size": 8, "depth": 3}),
    "narrow ViT": ("vit_tiny_patch16_224", {"patch_size": 4, "depth": 2, "embed_dim": 96}),
    "distilled DeiT": ("deit_tiny_distilled_patch16_224", {"patch_size": 8, "depth": 3}),
    "CCT": ("cct_2_3x2", {}),
    "MobileViT": ("mobilevitv2_050", {}),
}

# (teacher, student)
KINDS: dict[str, list[tuple[str, str]]] = {
    "CNN → CNN": [("ResNet-10", "cifar_resnet8"), ("cifar_resnet8", "MobileNetV2")],
    "ViT → CNN": [("ViT", "cifar_resnet8"), ("distilled DeiT", "MobileNetV2")],
    "CNN → ViT": [("ResNet-10", "narrow ViT"), ("MobileNetV2", "distilled DeiT")],
    "ViT → ViT": [("ViT", "narrow ViT"), ("distilled DeiT", "ViT")],
    "hybrid → any": [("MobileViT", "cifar_resnet8"), ("CCT", "narrow ViT")],
    "any → hybrid": [("ResNet-10", "MobileViT"), ("ViT", "CCT")],
}


def build_page() -> str:
    """Return the text of the page."""
    classes = {name: method_class(name) for name in method_names()}
    own = {name: cls for name, cls in classes.items() if cls.__module__.startswith("dropkd.")}
    notes: list[str] = []
    facts = ["least batch", "classes alike", "reads of the teacher", "views"]
    rows = [["method", *KINDS, *facts]]
    rows.append(["---"] * len(rows[0]))
    for name, cls in own.items():
        cells = [try_kind(name, kind, notes) for kind in KINDS]
        rows.append([f"[{name}](methods/{name}.md)", *cells, *list_facts(cls)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    listing = "\n".join(f"{number}. {note}" for number, note in enumerate(notes, start=1))
    return INTRODUCTION.format(size=SIZE[0], pairs=_list_pairs()) + f"\n{table}\n\n{listing}\n"


INTRODUCTION = """# Which method runs on which pair

An arrow leads from teacher to student. Every cell was tried: both networks were built for {size} x {size} pixels, the
method was built for them with its default options and took a training step. *yes* means that all losses and gradients
were finite; where a method is not made for a network, a number leads to what it says, before training starts. A
method without a teacher trains the student alone. The page is written by `docs/build_pairs_page.py`; images of other
shapes, other numbers of classes and small batches are tried by `tests/methods/test_any_pair.py`.

* *least batch*: the fewest images in a batch that the method is defined for; less is refused.
* *classes alike*: the terms that compare the networks class by class, and so need a teacher with the student's classes.
* *views*: what the method wants of each image; with two views a step costs two forward passes.

{pairs}
"""


def _list_pairs() -> str:
    lines = (f"* {kind}: {', '.join(f'{t} → {s}' for t, s in pairs)}" for kind, pairs in KINDS.items())
    return "The networks:\n\n" + "\n".join(lines)


def list_facts(cls: type[Method]) -> list[str]:
    """Return what a class declares, as cells."""
    compared = sorted(cls.label_space_terms)
    alike = "all terms" if compared and len(compared) == len(cls.terms) else ", ".join(compared) or "no"
    reads = ", ".join(sorted(cls.teacher_reads)) or "no teacher"
    return [str(cls.least_batch), alike, reads, ", ".join(cls.views)]


def try_kind(name: str, kind: str, notes: list[str]) -> str:
    """Return the cell of a method and a kind of pair, and add what it refuses to the notes."""
    refused = {}
    for teacher, student in KINDS[kind]:
        reason = take_step(name, teacher, student)
        if reason:
            notes += [reason] if reason not in notes else []
            refused[student] = f"not {student} ({notes.index(reason) + 1})"
    if not refused:
        return "yes"
    return ", ".join(refused.values()) if len(refused) == len(KINDS[kind]) else f"yes, {', '.join(refused.values())}"


def take_step(name: str, teacher: str, student: str) -> str:
    """Return why a method refuses a pair, or an empty text where it trains it for a step."""
    torch.manual_seed(0)
    network, expert = build(student, "student"), build(teacher, "teacher")
    network.requires_grad_(True).zero_grad()
    try:
        distiller = Distiller(network, expert, name, targets=torch.arange(4 * CLASSES) % CLASSES).train()
    except DropKDError as error:
        return shorten(str(error))
    views = len(distiller.method.views)
    index = torch.arange(max(IMAGES, distiller.method.least_batch)).repeat(views)
    losses = distiller(torch.rand(len(index), 3, *SIZE), index % CLASSES, index)
    losses.loss.backward()
    gradients = [parameter.grad for parameter in distiller.parameters() if parameter.grad is not None]
    if not all(tensor.isfinite().all() for tensor in (*losses.raw.values(), *gradients)):
        raise ArithmeticError(f"{name} is not finite for {teacher} -> {student}: {losses.raw}")
    return ""


@cache
def build(kind: str, side: str) -> Network:
    """Return a network of a kind, one for each side."""
    name, options = NETWORKS[kind]
    return build_network(name, num_classes=CLASSES, image_size=SIZE, options=options)


def shorten(message: str) -> str:
    """Return the first sentence of a message, without the shapes in it."""
    sentence = re.split(r"(?<=[.:])\s", message)[0].rstrip(".:")
    return re.sub(r" ?\([\d, ]+\)", "", sentence) + "."


if __name__ == "__main__":
    write_or_check(PAGE, build_page, Path(__file__), __doc__)
