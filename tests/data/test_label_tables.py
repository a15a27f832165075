"""Manifests whose images have several labels: the forms they come in, their splits, and rows that are wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropkd.data import EvalLoader, Recipe, TrainLoader, absolute_source, open_data
from dropkd.data.stratifying import stratify
from dropkd.errors import ConfigError, DataError

Tree = Callable[..., Path]

SETS = [["cat"], ["dog"], ["cat", "dog"], [], ["dog", "hat"], ["hat", "cat"]] * 2
SPLITS = ["train"] * 6 + ["val"] * 3 + ["test"] * 3


@pytest.fixture
def pool(tree: Tree) -> Path:
    """Return a folder whose images lie together, as 00.png to 11.png."""
    root = tree({"pool": 12})
    for i in range(12):
        (root / "pool" / f"{i}.png").rename(root / "pool" / f"{i:02}.png.part")
    for i in range(12):
        (root / "pool" / f"{i:02}.png.part").rename(root / "pool" / f"{i:02}.png")
    return root


def write(root: Path, lines: list[str], name: str = "list.csv") -> Path:
    (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root / name


def listed(separator: str = ";", column: str = "labels", split: bool = True) -> list[str]:
    cells = [separator.join(labels) for labels in SETS]
    quoted = [f'"{cell}"' if "," in cell else cell for cell in cells]
    rows = [f"pool/{i:02}.png,{cell}" + (f",{SPLITS[i]}" if split else "") for i, cell in enumerate(quoted)]
    return [f"path,{column}" + (",split" if split else ""), *rows]


def marked() -> list[str]:
    rows = [
        f"pool/{i:02}.png,{int('cat' in s)},{int('dog' in s)},{int('hat' in s)},{SPLITS[i]},x"
        for i, s in enumerate(SETS)
    ]
    return ["path,Cat,Dog,Hat,split,note", *rows]


def names_of(data_classes: tuple[str, ...], targets: np.ndarray) -> list[list[str]]:
    return [[data_classes[k] for k in np.flatnonzero(row)] for row in targets]


@pytest.mark.parametrize("separator", [";", "|", ",", " ; "])
def test_a_column_called_labels_lists_them(pool: Path, separator: str) -> None:
    data = open_data(write(pool, listed(separator)))
    assert data.multi_label
    assert data.classes == ("cat", "dog", "hat")
    assert data.train.targets.dtype == np.float32
    assert names_of(data.classes, data.train.targets) == [sorted(labels) for labels in SETS[:6]]
    assert [len(split) for split in data.splits] == [6, 3, 3]
    assert data.train.class_counts.tolist() == [3, 3, 2]
    assert data.test is not None
    assert data.test.relative_paths == ("pool/09.png", "pool/10.png", "pool/11.png")


def test_one_separator_serves_the_whole_column_so_that_labels_may_hold_the_others(pool: Path) -> None:
    lines = ["path,labels,split", *(f'pool/{i:02}.png,"big, red;a|b",train' for i in range(6))]
    data = open_data(write(pool, lines))
    assert data.classes == ("a|b", "big, red")


def test_another_column_is_chosen_by_an_option(pool: Path) -> None:
    file = write(pool, listed(column="Tags"))
    data = open_data(f"{file}?labels=tags")
    assert data.classes == ("cat", "dog", "hat")
    assert data.multi_label
    with pytest.raises(ConfigError, match=r"no column 'tag' in list\.csv.*Did you mean 'tags'\?"):
        open_data(f"{file}?labels=tag")


def test_a_column_of_0_and_1_for_each_class_is_the_same(pool: Path) -> None:
    by_list = open_data(write(pool, listed()))
    by_marks = open_data(f"{write(pool, marked(), 'marks.csv')}?classes=Cat,Dog,Hat")
    assert by_marks.classes == ("Cat", "Dog", "Hat")
    assert np.array_equal(by_marks.train.targets, by_list.train.targets)
    assert by_marks.notes[0] == "ignored columns of the manifest: note"
    assert by_marks.notes[1] == "no image of val has the label 'Hat', which counts in no mean there"


def test_the_classes_come_in_the_order_of_a_file_beside_the_manifest(pool: Path) -> None:
    write(pool, ["Hat", "", "Cat", "Dog"], "names.txt")
    data = open_data(f"{write(pool, marked())}?classes=names.txt")
    assert data.classes == ("Hat", "Cat", "Dog")
    assert data.train.class_counts.tolist() == [2, 3, 3]


def test_named_classes_order_a_list_and_may_go_by_number(pool: Path) -> None:
    data = open_data(f"{write(pool, listed())}?classes=hat,dog,cat")
    assert data.classes == ("hat", "dog", "cat")
    numbers = {"hat": "0", "dog": "1", "cat": "2"}
    lines = ["path,labels,split"]
    lines += [f"pool/{i:02}.png,{';'.join(numbers[x] for x in s)},{SPLITS[i]}" for i, s in enumerate(SETS)]
    again = open_data(f"{write(pool, lines, 'numbers.csv')}?classes=hat,dog,cat")
    assert again.classes == data.classes
    assert np.array_equal(again.train.targets, data.train.targets)


@pytest.mark.parametrize("column", ["labels", "label"])
def test_a_parquet_column_of_lists_needs_no_separator(pool: Path, column: str) -> None:
    paths = [f"pool/{i:02}.png" for i in range(12)]
    sets = [[x.replace("hat", "hat; red") for x in s] if i else None for i, s in enumerate(SETS)]
    pq.write_table(pa.table({"path": paths, column: sets, "split": SPLITS}), pool / "list.parquet")
    data = open_data(pool / "list.parquet")
    assert data.classes == ("cat", "dog", "hat; red")
    assert names_of(data.classes, data.train.targets)[:2] == [[], ["dog"]]


def test_a_parquet_column_of_booleans_is_one_of_0_and_1(pool: Path) -> None:
    columns = {name: [name in s for s in SETS] for name in ("cat", "dog", "hat")}
    table = pa.table({"path": [f"pool/{i:02}.png" for i in range(12)], **columns, "split": SPLITS})
    pq.write_table(table, pool / "list.parquet")
    data = open_data(f"{pool / 'list.parquet'}?classes=cat,dog,hat")
    assert names_of(data.classes, data.train.targets) == [sorted(labels) for labels in SETS[:6]]


def test_whole_numbers_are_sorted_by_value_without_names(pool: Path) -> None:
    lines = ["path,labels,split", *(f"pool/{i:02}.png,{i % 3 * 5};10,train" for i in range(6))]
    assert open_data(write(pool, lines)).classes == ("0", "5", "10")


def test_a_column_label_beside_it_stays_the_one_that_counts(pool: Path) -> None:
    lines = ["path,label,labels,split", *(f"pool/{i:02}.png,{'ab'[i % 2]},x;y,train" for i in range(8))]
    data = open_data(write(pool, lines))
    assert not data.multi_label
    assert data.classes == ("a", "b")
    assert open_data(f"{write(pool, lines)}?labels=labels").classes == ("x", "y")


@pytest.mark.parametrize(
    ("line", "options", "message"),
    [
        ("pool/00.png,cat;bird,train", "?classes=cat,dog,hat", r"line 2: unknown label 'bird'"),
        ("pool/00.png,cat;dgo,train", "?classes=cat,dog,hat", r"line 2: unknown label 'dgo'\. Did you mean 'dog'\?"),
        ("pool/00.png,1;3,train", "?classes=cat,dog,hat", r"label 3 is out of range: there are 3 classes, numbered fr"),
        ("pool/00.png,-1,train", "?classes=cat,dog,hat", r"label -1 is out of range"),
        ("pool/00.png,\"['cat', 'dog']\",train", "", r"line 2: labels must be written as in cat;dog, got \"\['cat'"),
        ("pool/01.png,cat,train", "", r"line 3: 'pool/01\.png' stands in line 2 already"),
        ("../x.png,cat,train", "", r"line 2: the path must stay in the manifest's folder"),
        ("pool/00.png,cat,tarin", "", r"line 2: the split must be train, val or test, got 'tarin'"),
    ],
)
def test_a_wrong_row_is_named(pool: Path, line: str, options: str, message: str) -> None:
    lines = listed()
    lines[1] = line
    with pytest.raises(DataError, match=message):
        open_data(f"{write(pool, lines)}{options}")


@pytest.mark.parametrize(("cell", "words"), [("2", "got '2'"), ("-1", "got '-1'"), ("", "it is empty")])
def test_a_mark_that_is_neither_0_nor_1_is_named_with_its_column(pool: Path, cell: str, words: str) -> None:
    lines = marked()
    lines[4] = f"pool/03.png,0,{cell},1,train,x"
    with pytest.raises(DataError, match=f"line 5: 'Dog' must be 0 or 1, {words}"):
        open_data(f"{write(pool, lines)}?classes=Cat,Dog,Hat")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("?classes=Cat,Dgo,Hat", r"the class 'Dgo' has no column in list\.csv.*Did you mean 'dog'\?"),
        ("?classes=none.txt", r"classes=none\.txt is no file, neither beside the manifest nor in the working folder"),
        ("?classes=Cat,Dog,Cat", r"names 'Cat' twice"),
        ("?classes=,", r"names no class"),
    ],
)
def test_classes_that_are_wrong_are_named(pool: Path, options: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_data(f"{write(pool, marked())}{options}")


def test_a_class_without_a_training_image_is_refused(pool: Path) -> None:
    with pytest.raises(DataError, match="there is no image of class 'bird' in train"):
        open_data(f"{write(pool, listed())}?classes=cat,dog,hat,bird")


def test_a_label_that_only_test_images_have_is_refused_and_one_that_they_lack_is_not(pool: Path) -> None:
    lines = listed()
    lines[12] = "pool/11.png,cat;owl,test"
    with pytest.raises(DataError, match="there is no image of class 'owl' in train"):
        open_data(write(pool, lines))
    lines[11:13] = ["pool/10.png,cat,test", "pool/11.png,cat,test"]
    lines[10] = "pool/09.png,cat,test"
    data = open_data(write(pool, lines))
    assert any("no image of test has the label 'dog', 'hat'" in note for note in data.notes)


def test_no_label_at_all_is_refused(pool: Path) -> None:
    with pytest.raises(DataError, match="gives no image a label"):
        open_data(write(pool, ["path,labels", "pool/00.png,", "pool/01.png,"]))


def test_without_splits_each_part_gets_its_share_of_every_label(tree: Tree) -> None:
    root = tree({"pool": 60})
    sets = [["common"] * (i % 2) + ["rare"] * (i % 20 == 0) + ["half"] * (i % 3 == 0) for i in range(60)]
    lines = ["path,labels", *(f"pool/{i}.png,{';'.join(s)}" for i, s in enumerate(sets))]
    first, again = (open_data(write(root, lines), validation_fraction=0.2, seed=1) for _ in range(2))
    assert [len(split) for split in first.splits] == [36, 12, 12]
    assert all(split.class_counts.min() >= 1 for split in first.splits)
    assert [split.class_counts[0] for split in first.splits] == pytest.approx([18, 6, 6], abs=1)
    assert [s.relative_paths for s in first.splits] == [s.relative_paths for s in again.splits]
    other = open_data(write(root, lines), validation_fraction=0.2, seed=2)
    assert other.train.relative_paths != first.train.relative_paths
    assert any("split by labels with seed 1" in note for note in first.notes)


@given(st.data())
def test_training_keeps_every_label_and_all_images_have_one_part(data: st.DataObject) -> None:
    rows = data.draw(st.integers(2, 20))
    marks = np.array(data.draw(st.lists(st.lists(st.sampled_from([0, 0, 1]), min_size=3, max_size=3),
                                        min_size=rows, max_size=rows)), np.float32)  # fmt: skip
    order = np.array(data.draw(st.permutations(range(rows))))
    parts = stratify(marks, order, (0.8, 0.1, 0.1))
    assert set(parts.tolist()) <= {0, 1, 2}
    assert ((marks[parts == 0].sum(0) > 0) == (marks.sum(0) > 0)).all()


def test_loaders_give_the_labels_of_each_view_as_numbers_from_0_to_1(pool: Path) -> None:
    data = open_data(write(pool, listed()))
    loader = TrainLoader(data.train, size=(8, 8), recipe=Recipe(), batch_size=4, seed=0, views=("standard", "mirrored"))
    batch = next(iter(loader.epoch(0)))
    assert batch.target.shape == (8, 3)
    assert batch.target.dtype.is_floating_point
    assert np.array_equal(batch.target[:4].numpy(), data.train.targets[batch.index[:4].numpy()])
    assert np.array_equal(batch.target[:4].numpy(), batch.target[4:].numpy())
    assert data.val is not None
    assert next(iter(EvalLoader(data.val, size=(8, 8), batch_size=2))).target.shape == (2, 3)


def test_other_labels_are_another_fingerprint(pool: Path) -> None:
    before = open_data(write(pool, listed())).train.fingerprint()
    lines = listed()
    lines[1] = "pool/00.png,cat;hat,train"
    assert open_data(write(pool, lines)).train.fingerprint() != before


def test_the_options_mean_the_same_from_any_working_folder(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pool)
    (pool / "labels").mkdir()
    write(pool, ["cat", "dog"], "names.txt")
    assert str(absolute_source("list.csv?labels=labels")) == f"{pool}/list.csv?labels=labels"
    assert str(absolute_source("list.csv?classes=names.txt")) == f"{pool}/list.csv?classes={pool}/names.txt"
    assert str(absolute_source("list.csv?classes=a,b")) == f"{pool}/list.csv?classes=a,b"
