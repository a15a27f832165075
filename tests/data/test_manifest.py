"""Manifests as CSV and parquet: splits, classes, and rows that are wrong, each by its number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dropkd.data import open_data
from dropkd.errors import ConfigError, DataError

Tree = Callable[..., Path]


@pytest.fixture
def pool(tree: Tree) -> Path:
    """Return a folder whose images lie together, as 0.png to 11.png."""
    return tree({"pool": 12})


def write(root: Path, text: str, name: str = "list.csv") -> Path:
    (root / name).write_text(text, encoding="utf-8")
    return root / name


def rows(split: bool = True) -> str:
    lines = ["path,label,split" if split else "path,label"]
    for i in range(12):
        part = ("train", "train", "train", "train", "val", "test")[i // 2]
        lines.append(f"pool/{i}.png,{'cat' if i % 2 else 'dog'}" + (f",{part}" if split else ""))
    return "\n".join(lines) + "\n"


def test_rows_give_path_label_and_split(pool: Path) -> None:
    data = open_data(write(pool, rows()))
    assert data.classes == ("cat", "dog")
    assert (len(data.train), len(data.val), len(data.test)) == (8, 2, 2)
    assert data.test.relative_paths == ("pool/11.png", "pool/10.png")
    assert data.test.targets.tolist() == [0, 1]
    assert data.notes == ()
    assert data.train.pack is not None


def test_without_a_split_column_the_images_are_cut_in_three(pool: Path) -> None:
    data = open_data(write(pool, rows(split=False)), validation_fraction=0.2)
    assert [len(split) for split in data.splits] == [8, 2, 2]


def test_an_empty_split_column_is_none(pool: Path) -> None:
    text = "\n".join(f"{line}," if i else f"{line},split" for i, line in enumerate(rows(split=False).splitlines()))
    assert [len(split) for split in open_data(write(pool, text), validation_fraction=0.2).splits] == [8, 2, 2]


def test_a_parquet_manifest_is_the_same(pool: Path) -> None:
    lines = [line.split(",") for line in rows().splitlines()[1:]]
    columns = {"label": [c[1] for c in lines], "path": [c[0] for c in lines], "split": [c[2] for c in lines]}
    pq.write_table(pa.table({**columns, "age": list(range(12))}), pool / "list.parquet")
    here, there = open_data(pool / "list.parquet"), open_data(write(pool, rows()))
    assert [s.fingerprint() for s in here.splits] == [s.fingerprint() for s in there.splits]
    assert here.notes == ("ignored columns of the manifest: age",)


def test_labels_that_are_whole_numbers_come_in_the_order_of_their_values(pool: Path) -> None:
    labels = ["10", "2", "1"] * 4
    pq.write_table(
        pa.table({"path": [f"pool/{i}.png" for i in range(12)], "label": [float(k) for k in labels]}),
        pool / "numbers.parquet",
    )
    text = "path,label\n" + "".join(f"pool/{i}.png,{k}\n" for i, k in enumerate(labels))
    for file in (write(pool, text), pool / "numbers.parquet"):
        assert open_data(file).classes == ("1", "2", "10")


def test_spellings_of_people_and_programs_are_understood(pool: Path) -> None:
    text = "\ufeffPath, Label ,SPLIT,author\r\n" + "".join(
        f'".\\pool\\{i}.png", {"cat" if i % 2 else "dog"},{"Validation" if i < 4 else "Train"},x\r\n' for i in range(12)
    )
    data = open_data(write(pool, text + "\r\n"))
    assert (len(data.train), len(data.val)) == (8, 4)
    assert data.notes[0] == "ignored columns of the manifest: author"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("pool/0.png,cat,train", r"line 4: 'pool/0.png' stands in line 2 already"),
        ("./pool//0.png,cat,train", r"line 4: './pool//0.png' stands in line 2 already"),
        ("pool/2.png,,train", r"line 4: the label is missing"),
        (",cat,train", r"line 4: the path is missing"),
        ("pool/2.png,cat,", r"line 4: the split is missing"),
        ("pool/2.png,cat,dev", r"line 4: the split must be train, val or test, got 'dev'"),
        ("pool/2.png,cat", r"line 4: must have 3 cells as the first line has, got 2"),
        ("/pool/2.png,cat,train", r"line 4: the path must start from the manifest's folder, got '/pool/2.png'"),
        ("C:\\pool\\2.png,cat,train", r"line 4: the path must start from the manifest's folder"),
        ("pool/../../2.png,cat,train", r"line 4: the path must stay in the manifest's folder, got 'pool/../../2.png'"),
        ('"pool/2.png,cat,train', r"line \d+: unexpected end of data"),
    ],
)
def test_a_row_that_is_wrong_is_named(pool: Path, line: str, message: str) -> None:
    lines = rows().splitlines()
    lines[3] = line
    with pytest.raises(DataError, match=message):
        open_data(write(pool, "\n".join(lines)))


def test_all_wrong_rows_are_said_at_once(pool: Path) -> None:
    pq.write_table(pa.table({"path": ["a.png", "a.png", None], "label": ["x", "y", None]}), pool / "bad.parquet")
    with pytest.raises(DataError) as caught:
        open_data(pool / "bad.parquet")
    assert str(caught.value).splitlines()[1:] == [
        "  row 2: 'a.png' stands in row 1 already",
        "  row 3: the path is missing",
        "  row 3: the label is missing",
    ]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("file,label", r"has no column 'path'\. .*this one has: file, label\."),
        ("path,lable", r"has no column 'label'.*Did you mean 'lable'\?"),
        ("path;label", r"commas must stand between the columns, the first line is 'path;label'"),
        ("path,label,path", r"has 2 columns 'path'"),
        ("", r"has no column 'path'.*this one has: none"),
    ],
)
def test_columns_that_are_wrong_are_named(pool: Path, header: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_data(write(pool, header + "\n"))


def test_another_encoding_is_named_with_its_line(pool: Path) -> None:
    (pool / "list.csv").write_bytes(rows().replace("dog", "f\u00fcchsin").encode("latin-1"))
    with pytest.raises(DataError, match=r"line 2: byte 0xfc is not UTF-8.*save it as UTF-8"):
        open_data(pool / "list.csv")


def test_an_image_that_is_listed_but_absent_is_named(pool: Path) -> None:
    (pool / "pool" / "3.png").unlink()
    with pytest.raises(DataError, match=r"pool/3.png: no such file"):
        open_data(write(pool, rows()))


def test_a_class_that_a_split_lacks_is_named(pool: Path) -> None:
    with pytest.raises(DataError, match=r"there is no image of class 'wolf' in train\."):
        open_data(write(pool, rows().replace("pool/10.png,dog", "pool/10.png,wolf")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\n", "lists no images"),
        ("path,label\npool/1.png,cat\n", "has one class, 'cat'"),
        ("path,label,split\npool/1.png,cat,test\npool/2.png,dog,val\n", "there are no training images"),
    ],
)
def test_too_few_rows_are_refused(pool: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_data(write(pool, text))


def test_what_is_no_parquet_file_is_refused(pool: Path) -> None:
    with pytest.raises(DataError, match="can't read the parquet file"):
        open_data(write(pool, "path,label\n", "list.parquet"))


def test_an_unknown_option_of_a_manifest_is_named(pool: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown option 'label'.*Did you mean 'labels'\?"):
        open_data(f"{write(pool, rows())}?label=x")
