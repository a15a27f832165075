"""docs/faces.md: its commands, run in order on a tiny RAF-DB with small networks in place of those that it names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from build_paper_page import ROOT

Cli = Callable[..., tuple[int, str, str]]
SMALL = {"ViT-L-14/openai": "cifar_resnet14", "mobilenetv2_100": "cifar_resnet8", "resnet18": "cifar_resnet8"}
# A flag that is given again wins.
BRIEF = ["--epochs", 3, "--batch-size", 7, "--image-size", 32, "--no-pretrained", "--teacher-check", "off"]


def list_commands() -> list[list[str]]:
    page = (ROOT / "docs" / "faces.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return [line.split() for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def test_the_commands_run_one_after_the_other_and_say_what_the_page_says(place: Path, cli: Cli) -> None:
    own = place / "raf-db/basic/EmoLabel/list_patition_label.txt"
    own.with_name("noise02.txt").write_text(own.read_text().replace("train_00001.jpg 1", "train_00001.jpg 2"))
    said: dict[str, str] = {}
    for program, *arguments in list_commands():
        assert program == "dropkd"
        words = [SMALL.get(word, word).strip("'") for word in arguments]
        code, out, error = cli(*words, *(BRIEF if words[0] in ("train", "distill") else ()))
        assert code == 0, error
        said[" ".join(arguments)] = out + error
    texts = list(said.values())
    counts = "RAF-DB has other numbers of images than published (in brackets): train surprise 4 (1,290)"
    assert all(counts in re.sub(r"\s+", " ", text) for text in texts[:2])
    compound = [text for command, text in said.items() if "--task compound" in command]
    assert all(name in compound[0] for name in ("both of 2", "best is one", "one of best 2"))
    assert "training labels from noise02.txt: 1 of 28 (3.6%) are other" in said[list(said)[-1]]
    assert (place / "faces.html").is_file()
    assert {path.name for path in (place / "runs/faces").iterdir()} == {"teacher", "dropkd", "kd", "scn", "eac"}


def test_the_published_numbers_on_the_page_are_those_that_are_checked() -> None:
    from dropkd.data.raf_db import _BASIC_COUNTS, BASIC_EMOTIONS

    page = (ROOT / "docs" / "faces.md").read_text(encoding="utf-8")
    assert f"| | {' | '.join(BASIC_EMOTIONS)} |" in page
    for split, counts in _BASIC_COUNTS.items():
        assert f"| {split} | {' | '.join(f'{count:,}' for count in counts)} |" in page
