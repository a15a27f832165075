"""``extends``: a configuration file that starts from others."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dropkd.config import dump_config, load_config
from dropkd.config.extending import read_chain
from dropkd.errors import ConfigError

BASE = """data: images
student: {name: resnet18, pretrained: false}
training: {epochs: 3, lr: 0.1, milestones: [1, 2]}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write("base.yaml", BASE)
    return tmp_path


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def refuse(name: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(Path(name))
    return str(caught.value)


def test_groups_are_merged_key_by_key_and_all_else_is_replaced() -> None:
    config = load_config(
        write("mine.yaml", "extends: base.yaml\nstudent: resnet34\ntraining: {lr: 0.2, milestones: [2]}\n")
    )
    assert (config.student.name, config.student.pretrained) == ("resnet34", False)
    assert (config.training.epochs, config.training.lr, config.training.milestones) == (3, 0.2, [2])


def test_the_file_of_a_base_is_looked_for_beside_the_file_that_names_it() -> None:
    write("deep/middle.yaml", "extends: ../base.yaml\nseed: 5\n")
    config = load_config(write("deep/er/mine.yaml", "extends: ../middle.yaml\n"))
    assert (config.student.name, config.seed) == ("resnet18", 5)


def test_a_later_base_wins_over_an_earlier_one_and_flags_over_all() -> None:
    write("one.yaml", "seed: 1\nthreads: 1\n")
    write("two.yaml", "seed: 2\n")
    mine = write("mine.yaml", "extends: [base.yaml, one.yaml, two.yaml]\n")
    config = load_config(mine, ["training.epochs=7"], {"device": "cpu"})
    assert (config.seed, config.threads, config.training.epochs, config.device) == (2, 1, 7, "cpu")


def test_a_base_of_two_bases_does_not_undo_what_one_of_them_says() -> None:
    write("one.yaml", "extends: base.yaml\ntraining: {epochs: 9}\n")
    write("two.yaml", "extends: base.yaml\nseed: 2\n")
    config = load_config(write("mine.yaml", "extends: [one.yaml, two.yaml]\n"))
    assert (config.training.epochs, config.seed) == (9, 2)


def test_a_key_without_a_value_takes_the_bases_away() -> None:
    write("taught.yaml", "extends: base.yaml\nteacher: runs/teacher\n")
    assert load_config(write("mine.yaml", "extends: taught.yaml\nteacher:\n")).teacher is None


def test_what_is_dumped_is_flat_and_loads_as_the_same() -> None:
    config = load_config(write("mine.yaml", "extends: base.yaml\nseed: 3\n"))
    text = dump_config(config)
    assert "extends" not in text
    assert load_config(write("elsewhere/config.yaml", text)) == config


def test_a_mistake_is_told_of_the_file_that_holds_it() -> None:
    write("base.yaml", BASE + "method: {name: kd}\nthread: 3\n")
    said = refuse(write("mine.yaml", "extends: base.yaml\nsead: 3\n"))
    assert "base.yaml: unknown key 'thread'. Did you mean 'threads'?" in said
    assert "mine.yaml: unknown key 'sead'. Did you mean 'seed'?" in said


def test_a_file_that_extends_itself_is_told_with_the_way_round() -> None:
    write("a.yaml", "extends: b.yaml\n")
    write("b.yaml", "extends: sub/c.yaml\n")
    write("sub/c.yaml", "extends: ../a.yaml\n")
    assert refuse("a.yaml") == (
        "sub/c.yaml: a file can't extend itself: a.yaml extends b.yaml extends sub/c.yaml extends a.yaml"
    )
    assert "me.yaml extends me.yaml" in refuse(write("me.yaml", "extends: me.yaml\n"))


def test_a_base_that_is_not_there_is_told_with_the_nearest_one() -> None:
    said = refuse(write("sub/mine.yaml", "extends: ../bse.yaml\n"))
    assert said == "sub/mine.yaml: extends '../bse.yaml', but there is no file 'bse.yaml'. Did you mean 'base.yaml'?"
    assert "there is no file 'sub'" in refuse(write("mine.yaml", "extends: sub\n"))


@pytest.mark.parametrize("value", ["3", "[base.yaml, 3]", "{file: base.yaml}", "''"])
def test_something_else_than_files_is_refused(value: str) -> None:
    said = refuse(write("mine.yaml", f"extends: {value}\n"))
    assert said.startswith("mine.yaml: 'extends' must be a file, as in 'extends: base.yaml', or a list of files, got")


def test_a_base_that_is_no_group_of_keys_is_told_by_its_own_name() -> None:
    write("base.yaml", "- resnet18\n")
    assert refuse(write("mine.yaml", "extends: base.yaml\n")).startswith("base.yaml: must hold keys")


def test_extends_is_a_word_of_files_alone() -> None:
    with pytest.raises(ConfigError, match=r"--set extends=base.yaml: unknown key 'extends'"):
        load_config(Path("base.yaml"), ["extends=base.yaml"])


@given(st.lists(st.lists(st.integers(0, 5), max_size=3, unique=True), min_size=1, max_size=6))
def test_in_every_tree_of_files_each_comes_once_and_after_those_that_it_extends(
    tmp_path_factory: pytest.TempPathFactory, tree: list[list[int]]
) -> None:
    root = tmp_path_factory.mktemp("files")
    bases = {number: [base for base in named if base < number] for number, named in enumerate(tree)}
    for number, named in bases.items():
        content = {"extends": [f"{base}.yaml" for base in named], "seed": number}
        (root / f"{number}.yaml").write_text(yaml.safe_dump(content))
    order = [content["seed"] for _, content in read_chain(root / f"{len(tree) - 1}.yaml")]
    assert order[-1] == len(tree) - 1
    assert len(order) == len(set(order))
    assert all(order.index(base) < order.index(number) for number in order for base in bases[number])
