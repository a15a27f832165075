"""``dropkd models``: names, and what the models cost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dropkd.cli.listings import say_count

Cli = Callable[..., tuple[int, str, str]]


def rows_of(shown: str) -> dict[str, list[str]]:
    """Return the cells of each row by its first cell."""
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in shown.splitlines() if line[:1] == "│"]
    return {row[0]: row[1:] for row in rows}


def test_costs_are_listed_beside_the_models(cli: Cli) -> None:
    code, shown, _ = cli("models", "resnet18*", "--macs", "--image-size", 224, "--classes", 7)
    assert code == 0
    assert rows_of(shown)["resnet18"] == ["224x224", "11.18 M", "1.814 G", "1.821 G"]
    assert rows_of(shown)["torchvision/resnet18"] == rows_of(shown)["resnet18"]
    assert "multiply-add counts once" in shown


def test_without_size_and_classes_the_models_own_count(cli: Cli) -> None:
    _, shown, _ = cli("models", "mobilenetv2_100", "--macs")
    assert rows_of(shown)["mobilenetv2_100"] == ["224x224", "3.505 M", "300.8 M", "320.2 M"]


def test_a_name_with_a_tag_or_a_library_is_found(cli: Cli) -> None:
    _, shown, _ = cli("models", "vit_large_patch14_clip_224.openai", "--macs", "--classes", 7)
    assert rows_of(shown)["vit_large_patch14_clip_224.openai"] == ["224x224", "303.2 M", "81.01 G", "81.06 G"]
    _, shown, _ = cli("models", "torchvision/vit_h*")
    assert list(rows_of(shown)) == ["vit_h_14"]
    assert "1 model\n" in shown


def test_models_that_cannot_take_the_size_are_named_and_the_others_counted(cli: Cli) -> None:
    code, shown, said = cli("models", "*vgg16", "--macs", "--image-size", "8x8")
    assert code == 0
    assert list(rows_of(shown)) == ["cifar_vgg16"]
    assert "warning: 'vgg16' can't take images of 8x8 pixels" in said
    code, _, said = cli("models", "torchvision/vgg16", "--macs", "--image-size", 8)
    assert code == 2
    assert said.startswith("error: 'torchvision/vgg16' can't take images of 8x8 pixels")


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--macs", "--image-size", "big"], "--image-size: must be a whole number of pixels, or HxW, got 'big'."),
        (["--macs", "--classes", 0], "--classes: must be at least 1, got 0."),
        (["--classes", 7], "--classes says what is counted: give --macs as well."),
        (["--image-size", 32], "--image-size says what is counted: give --macs as well."),
    ],
)
def test_wrong_flags_are_told(cli: Cli, flags: list[object], text: str) -> None:
    code, _, said = cli("models", "resnet18", *flags)
    assert (code, said.strip()) == (2, f"error: {text}")


def test_counts_have_four_digits() -> None:
    numbers = (7, 999, 1_000, 78_042, 11_180_103, 320_236_288, 1_017_000_000_000)
    assert [say_count(n) for n in numbers] == ["7", "999", "1.000 k", "78.04 k", "11.18 M", "320.2 M", "1017 G"]
