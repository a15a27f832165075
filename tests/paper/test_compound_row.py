"""A row of Table 5 from its teacher to its three numbers: the page's commands with small networks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import build_paper_page as page
from dropkd.run import Run

Cli = Callable[..., tuple[int, str, str]]
SMALL = ["--epochs", 4, "--batch-size", 7, "--image-size", 32, "--workers", 0, "--lr", 0.005, "--no-pretrained",
         "--set", "training.warmup_epochs=0", "--set", "training.precision=32"]  # fmt: skip


def test_the_commands_of_the_dropkd_row_give_its_three_numbers(place: Path, cli: Cli) -> None:
    (entry,) = (entry for entry in page.list_entries() if entry.table == "table5" and "DropKD" in entry.column)
    block = page.build_page().partition("## Table 5")[2].partition("```sh\n")[2].partition("```")[0]
    commands = [line.partition("    #")[0] for line in block.splitlines() if line.startswith("dropkd")]
    of_the_row = ("table2/teacher", "table4/mobilenetv2-dropkd")
    wanted = [line for line in commands if "report" not in line and any(name in line for name in of_the_row)]
    assert [command.split()[1] for command in wanted] == ["train", "distill", "evaluate"]
    for command in wanted[:2]:
        _, verb, config, recipe = command.split()
        model = "vit_tiny_patch16_224" if verb == "train" else "cifar_resnet8"
        options = ["--set", "student.options={depth: 2, patch_size: 8}"] if verb == "train" else []
        more = [*SMALL, "--set", f"student.name={model}", *options, "--teacher-check", "off"]
        code, _, error = cli(verb, config, page.ROOT / recipe, *more)
        assert code == 0, error
    code, said, error = cli(*wanted[2].split()[1:], "--json")
    assert code == 0, error
    numbers = json.loads(said)["test"]
    assert numbers["images"] == 22
    assert 0 <= numbers["acc_both"] <= numbers["acc_single"] <= numbers["acc_single_top2"] <= 1
    assert numbers["basic_accuracy"] == Run.open(place / entry.run).metrics["splits"]["test"]["accuracy"]
