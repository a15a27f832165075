from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from PIL import Image

from dropkd.data import EvalLoader, Recipe, TrainLoader, absolute_source, open_data, open_unlabelled
from dropkd.data.pictures import ListedPictures
from dropkd.data.stores import StoreRows
from dropkd.errors import ConfigError, DataError, DropKDError

Tree = Callable[..., Path]
NAMES = ["dog", "cat"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)


def draw(seed: int, size: tuple[int, int] = (8, 10)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(draw(seed)).save(file, "PNG")
    return file.getvalue()


def table(labels: Sequence[int | None], names: Sequence[str] = NAMES, **more: Any) -> Dataset:
    """A table as most on the hub are: a column of images, and a ClassLabel whose names are not sorted."""
    columns = {"img": [{"bytes": png(i), "path": None} for i in range(len(labels))], "label": list(labels)}
    features = {"img": datasets.Image(), "label": ClassLabel(names=list(names))}
    features |= {name: column[0] for name, column in more.items()}
    return Dataset.from_dict(columns | {name: column[1] for name, column in more.items()}, Features(features))


def save(tables: Dataset | dict[str, Dataset], name: str = "saved") -> str:
    (DatasetDict(tables) if isinstance(tables, dict) else tables).save_to_disk(name)
    return name


def refuse(text: str, error: type[DropKDError] = DataError) -> str:
    with pytest.raises(error) as caught:
        open_data(text)
    return str(caught.value)


def test_a_saved_table_with_splits_is_known_without_a_scheme() -> None:
    name = save({"train": table([0, 1] * 4), "validation": table([0, 1]), "test": table([1, 0, 1])})
    for text in (name, f"hf:{name}"):
        data = open_data(text)
        assert data.classes == ("dog", "cat")
        assert [(s.name, len(s)) for s in data.splits] == [("train", 8), ("val", 2), ("test", 3)]
        assert data.train.relative_paths[:5] == tuple(f"train/{row:06}" for row in (0, 2, 4, 6, 1))
        assert data.train.targets.tolist() == [0] * 4 + [1] * 4
        assert data.test.relative_paths == ("test/000001", "test/000000", "test/000002")
        assert data.test.images.read(1) == png(0)
        assert data.notes == ()


def test_rows_and_files_of_the_same_images_give_the_same_batches(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree({f"{split}/{name}": 6 for split in ("train", "val") for name in ("cat", "dog")})
    parts = {}
    for split in ("train", "val"):
        files = sorted((root / split).rglob("*.png"))
        columns = {"image": [str(f) for f in files], "label": [f.parent.name for f in files]}
        parts[split] = Dataset.from_dict(columns).cast_column("image", datasets.Image())
    monkeypatch.setattr("dropkd.data.reading.PACK_BYTES", 0)
    files, rows = open_data(root), open_data(save(parts))
    assert files.classes == rows.classes
    options = {"size": (6, 6), "recipe": Recipe("resized"), "batch_size": 5, "seed": 3}
    expected = list(TrainLoader(files.train, **options).epoch(1))
    for workers in (0, 2):
        loader = TrainLoader(rows.train, workers=workers, **options)
        for start in (0, 1):
            found = list(loader.epoch(1, start))
            assert all(a.images.equal(b.images) for a, b in zip(expected[start:], found, strict=True))
    assert isinstance(rows.train.store, StoreRows)


def test_small_rows_are_kept_in_memory_like_small_files() -> None:
    data = open_data(save({"train": table([0, 1] * 3), "val": table([0, 1])}))
    assert (data.native_size, data.uniform) == ((8, 10), True)
    assert data.train.pack is not None
    assert (data.train.pack[0] == draw(0)).all()


def test_a_lone_split_is_cut_in_three() -> None:
    for text in (save(table([0, 1] * 10), "bare"), save({"train": table([0, 1] * 10)}, "one")):
        data = open_data(text)
        assert [(s.name, len(s)) for s in data.splits] == [("train", 16), ("val", 2), ("test", 2)]
        assert "split by class with seed 0" in data.notes[-1]
    assert open_data("one").train.relative_paths[0].startswith("train/")
    assert open_data("bare").train.relative_paths[0].startswith("all/")


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ("train=train[:50%]&val=train[50%:]", {"train": 10, "val": 10, "test": 4}),
        ("val=test", {"train": 20, "val": 4}),
        ("train=extra&val=train[:4]", {"train": 6, "val": 4, "test": 4}),
        ("train=train%2Bextra", None),
        ("train=train+extra&val=test[:2]&test=test[2:]", {"train": 26, "val": 2, "test": 2}),
        ("split=extra", {"train": 2, "val": 2, "test": 2}),
    ],
)
def test_splits_can_be_named(options: str, sizes: dict[str, int] | None) -> None:
    parts = {"train": table([0, 1] * 10), "test": table([0, 1] * 2), "extra": table([0, 1] * 3)}
    text = f"{save(parts)}?{options}"
    if sizes is None:
        assert "there is no split 'train%2Bextra'. There are: train, test, extra." in refuse(text, ConfigError)
    else:
        assert {s.name: len(s) for s in open_data(text).splits} == sizes


def test_splits_that_are_not_used_are_noted() -> None:
    data = open_data(save({"train": table([0, 1] * 5), "test": table([0, 1]), "extra": table([0, 1])}))
    assert data.notes[0] == "ignored splits: extra"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("train=train[:90%]&val=train[80%:]", "2 rows of 'train' are both in train and in val"),
        ("train=train[", "a part of a split looks like train[:90%] or train[100:200], got 'train['"),
        ("val=tset", "there is no split 'tset'. There are: train, test. Did you mean 'test'?"),
        ("split=train&val=test", "'split' names the only split; leave it out beside val"),
        ("splits=train", "unknown option 'splits'"),
    ],
)
def test_a_wrong_choice_of_splits_is_refused(options: str, message: str) -> None:
    text = f"{save({'train': table([0, 1] * 10), 'test': table([0, 1])})}?{options}"
    assert message in refuse(text, ConfigError)


def test_splits_of_other_names_have_to_be_chosen() -> None:
    said = refuse(save({"first": table([0, 1]), "second": table([0, 1])}))
    assert "has no split that is called train. It has: first, second. Name them: ?train=first&test=..." in said
    said = refuse(save({"train": table([0, 1]), "val": table([0, 1]), "validation": table([0, 1])}, "two"))
    assert "has two splits for val: 'val' and 'validation'. Choose one: ?val=validation" in said


def test_rows_without_a_class_are_left_out_with_a_note() -> None:
    data = open_data(save({"train": table([0, 1, -1, None] * 5), "val": table([0, 1]), "test": table([-1] * 4)}))
    assert [(s.name, len(s)) for s in data.splits] == [("train", 10), ("val", 2)]
    assert data.notes[:2] == (
        "10 rows of train without a class are left out",
        "test has no classes (4 rows) and is left out",
    )
    assert "no row has a class, the column 'label' is empty or -1 throughout" in refuse(save(table([-1] * 9), "none"))


def test_a_test_split_may_lack_the_column_of_classes() -> None:
    test = table([0, 1]).remove_columns("label")
    data = open_data(save({"train": table([0, 1] * 5), "test": test}))
    assert data.test is None
    assert "test has no classes (2 rows) and is left out" in data.notes


def test_minus_one_is_a_class_where_others_are_there() -> None:
    rows = [{"img": {"bytes": png(i), "path": None}, "label": v} for i, v in enumerate([-1, 1] * 10)]
    features = Features({"img": datasets.Image(), "label": Value("int64")})
    assert open_data(save(Dataset.from_list(rows, features))).classes == ("-1", "1")


def test_classes_without_an_image_are_left_out_with_a_note() -> None:
    data = open_data(save(table([3, 1] * 10, names=("a", "b", "c", "d"))))
    assert data.classes == ("b", "d")
    assert data.notes[0] == "2 of 4 classes have no image and are left out: 'a', 'c'"
    assert sorted(set(data.train.targets.tolist())) == [0, 1]
    path = data.train.relative_paths[0]
    assert data.train.targets[0] == int(int(path[-6:]) % 2 == 0)


@pytest.mark.parametrize(
    ("feature", "values", "classes"),
    [
        (Value("string"), ["zebra", "ant"], ("ant", "zebra")),
        (Value("int32"), [10, 9], ("9", "10")),
        (Value("bool"), [True, False], ("False", "True")),
    ],
)
def test_classes_that_are_texts_or_numbers_are_sorted(feature: Any, values: list[Any], classes: tuple[str]) -> None:
    rows = table([0, 1] * 10).remove_columns("label")
    rows = rows.add_column("Category", values * 10, feature=feature)
    assert open_data(save(rows)).classes == classes


def test_the_usual_name_decides_between_columns_of_classes() -> None:
    coarse = (ClassLabel(names=["x", "y"]), [0, 1] * 10)
    rows = table([0, 1] * 10, coarse_label=coarse).rename_column("label", "fine_label")
    data = open_data(save(rows))
    assert data.classes == ("dog", "cat")
    assert data.notes[0] == "the classes are those of the column 'fine_label' (others: ?label=coarse_label)"
    assert open_data("saved?label=coarse_label").classes == ("x", "y")


def test_several_columns_that_fit_are_listed() -> None:
    other = (ClassLabel(names=["x", "y"]), [0, 1] * 2)
    said = refuse(save(table([0, 1] * 2, breed=other).rename_column("label", "kind")))
    assert "several columns that may be the classes: kind, breed. Choose one: ?label=kind" in said
    masks = (datasets.Image(), [{"bytes": png(9), "path": None}] * 4)
    said = refuse(save(table([0, 1] * 2, mask=masks), "masks"))
    assert "several columns that may be the images: img, mask. Choose one: ?image=img" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("?image=label", "the column 'label' holds no images but ClassLabel"),
        ("?image=imh", "there is no column 'imh' for image=. There are: img (Image), label (ClassLabel)"),
        ("?label=size", "the column 'size' is float64; a class is a ClassLabel, a text or a whole number"),
        ("?label=lable", "Did you mean 'label'?"),
    ],
)
def test_a_column_that_does_not_fit_is_refused(options: str, message: str) -> None:
    assert message in refuse(save(table([0, 1] * 5, size=(Value("float64"), [0.5] * 10))) + options)


def test_tables_without_images_or_classes_say_what_they_have() -> None:
    bare = table([0, 1]).remove_columns("label")
    assert "no column of classes that can be told by its type or name. It has: img (Image)" in refuse(save(bare, "a"))
    assert "no column of images. It has: label (ClassLabel)" in refuse(save(table([0]).remove_columns("img"), "b"))
    lists = bare.add_column("labels", [[0.5], [0.0, 1.0]])
    assert "The column 'labels' is a list of float64. It has: " in refuse(save(lists, "c"))


def label_lists(labels: Sequence[list[Any] | None], feature: Any) -> Dataset:
    columns = {"img": [{"bytes": png(i), "path": None} for i in range(len(labels))], "labels": list(labels)}
    return Dataset.from_dict(columns, Features({"img": datasets.Image(), "labels": datasets.Sequence(feature)}))


SETS = [[0], [1, 0], [], [2], [2, 1], [0]] * 2


@pytest.mark.parametrize("kind", ["names", "texts"])
def test_a_column_of_lists_gives_several_labels(kind: str) -> None:
    names = ["dog", "cat", "owl"]
    feature = ClassLabel(names=names) if kind == "names" else Value("string")
    sets = SETS if kind == "names" else [[names[k] for k in row] for row in SETS]
    name = save({"train": label_lists(sets, feature), "test": label_lists(sets[:4], feature)})
    data = open_data(name, validation_fraction=0.25)
    assert data.multi_label
    assert data.classes == (("dog", "cat", "owl") if kind == "names" else ("cat", "dog", "owl"))
    assert data.test is not None
    found = [{data.classes[k] for k in np.flatnonzero(row)} for row in data.test.targets]
    assert found == [{names[k] for k in row} for row in SETS[:4]]
    assert [len(split) for split in data.splits] == [9, 3, 4]


def test_of_lists_a_split_without_labels_is_left_out_and_unused_names_too() -> None:
    feature = ClassLabel(names=["dog", "cat", "owl", "ox"])
    name = save({"train": label_lists(SETS, feature), "test": label_lists([None, None], feature)})
    data = open_data(name)
    assert data.test is None
    assert data.classes == ("dog", "cat", "owl")
    assert data.train.targets.shape[1] == 3
    assert any("1 of 4 classes have no image" in note for note in data.notes)


def test_images_may_be_bytes_or_arrays_or_paths() -> None:
    labels = [0, 1] * 4
    (Path("files")).mkdir()
    paths = []
    for i in range(8):
        paths.append(f"files/{i}.png")
        Path(paths[-1]).write_bytes(png(i))
    shape = datasets.Array3D((8, 10, 3), "uint8")
    first = datasets.Array3D((3, 8, 10), "uint8")
    columns: dict[str, tuple[Any, list[Any]]] = {
        "bytes": (Value("binary"), [png(i) for i in range(8)]),
        "struct": ({"bytes": Value("binary"), "path": Value("string")}, [{"bytes": png(i)} for i in range(8)]),
        "array": (shape, [draw(i) for i in range(8)]),
        "first": (first, [draw(i).transpose(2, 0, 1) for i in range(8)]),
        "nested": (datasets.List(datasets.List(datasets.List(Value("uint8")))), [draw(i).tolist() for i in range(8)]),
        "path": (datasets.Image(), [{"bytes": None, "path": str(Path(p).absolute())} for p in paths]),
    }
    for name, (feature, values) in columns.items():
        features = Features({"x": feature, "label": ClassLabel(names=NAMES)})
        rows = [{"x": v, "label": k} for v, k in zip(values, labels, strict=True)]
        data = open_data(save(Dataset.from_list(rows, features), name))
        for split in data.splits:
            for i, path in enumerate(split.relative_paths):
                assert split.pack is not None
                assert (split.pack[i] == draw(int(path[-6:]))).all(), name


def test_rows_that_hold_no_image_are_listed_and_can_be_skipped() -> None:
    images = [{"bytes": png(i), "path": None} for i in range(12)]
    images[0] = None
    images[1] = {"bytes": b"no image", "path": None}
    images[2] = {"bytes": None, "path": "/nowhere/x.png"}
    images[3] = {"bytes": None, "path": "https://example.org/x.png"}
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    pq.write_table(pa.table({"img": pa.array(images, kind), "label": ["a", "b"] * 6}), "rows.parquet")
    said = refuse("hf:rows.parquet")
    assert "4 of 12 images can't be read" in said
    assert "all/000000: the row holds no image" in said
    assert "all/000001: not an image that can be recognised" in said
    assert "all/000002: no such file" in said
    assert "all/000003: the row names 'https://example.org/x.png', which is not on this machine" in said
    assert len(open_data("hf:rows.parquet", skip_unreadable=True).train) == 4


def test_the_layouts_of_the_hub_are_opened_from_a_folder(tree: Tree) -> None:
    Path("repo/data").mkdir(parents=True)
    table([0, 1] * 10).to_parquet("repo/data/train-00000-of-00001.parquet")
    table([1, 0] * 2).to_parquet("repo/data/test-00000-of-00001.parquet")
    data = open_data("hf:repo")
    assert data.classes == ("dog", "cat")
    assert [(s.name, len(s)) for s in data.splits] == [("train", 18), ("val", 2), ("test", 4)]
    alone = open_data("hf:repo/data/train-00000-of-00001.parquet")
    assert [len(split) for split in alone.splits] == [16, 2, 2]


def test_an_image_folder_can_be_opened_by_datasets_too(tree: Tree) -> None:
    root = tree({f"train/{name}": 20 for name in ("cat", "dog")}, name="images")
    data = open_data(f"hf:{root}")
    assert data.classes == ("cat", "dog")
    assert sum(len(split) for split in data.splits) == 40


def test_a_plain_parquet_file_of_bytes_is_opened_by_its_scheme() -> None:
    struct = [{"bytes": png(i), "path": f"{i}.png"} for i in range(12)]
    pq.write_table(pa.table({"image": struct, "label": ["a", "b"] * 6}), "plain.parquet")
    data = open_data("hf:plain.parquet")
    assert data.classes == ("a", "b")
    assert "a single file must be .parquet or .arrow" in refuse_file("notes.txt")


def refuse_file(name: str) -> str:
    Path(name).write_text("")
    return refuse(f"hf:{name}")


def test_a_folder_that_datasets_can_not_open_says_what_it_should_be() -> None:
    Path("empty").mkdir()
    said = refuse("hf:empty")
    assert said.startswith("can't open 'hf:empty' with datasets: ")
    assert "A folder must be one that save_to_disk wrote" in said
    save(table([0, 1]), "torn")
    for file in Path("torn").glob("*.arrow"):
        file.write_bytes(file.read_bytes()[:100])
    assert refuse("torn").startswith("can't open 'torn' with datasets: ")


@pytest.mark.parametrize("text", ["hf:", "hf:a/b/c/d", "hf:a//b", "hf:a/b/c?config=d"])
def test_a_name_that_no_hub_has_is_refused(text: str) -> None:
    assert text in refuse(text, ConfigError)


def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub() -> None:
    assert refuse("hf:./nothing").startswith("'hf:./nothing': there is no folder or file 'nothing'.")


def test_a_set_of_the_hub_is_taken_from_the_cache_without_a_network(tmp_path: Path) -> None:
    """The cache is filled as a download fills it; the process then must not use the network."""
    Path("set/data").mkdir(parents=True)
    table([0, 1] * 10).to_parquet("set/data/train-00000-of-00001.parquet")
    home = tmp_path / "home"
    code = """
import os, sys, shutil
from pathlib import Path
import datasets
datasets.load_dataset("./set")
cache = Path(datasets.config.HF_DATASETS_CACHE)
shutil.move(cache / "set", cache / "owner___set")
from dropkd.data import open_data
from dropkd.errors import DataError
data = open_data("hf:owner/set")
assert data.classes == ("dog", "cat"), data.classes
assert str(data.root) == "hf:owner/set"
assert len(data.train) == 16
try:
    open_data("hf:owner/others")
except DataError as error:
    print(error)
"""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert said.startswith("can't get 'hf:owner/others': ")
    assert "Tried: 'owner/others' here (no such folder), no network, since HF_HUB_OFFLINE is set" in said
    assert f"{home}/datasets" in said
    assert "datasets.load_dataset('owner/others').save_to_disk('FOLDER')" in said


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert 'Install it: pip install "dropkd[datasets]"' in refuse("hf:cifar100")


def test_a_name_means_the_same_from_another_folder(tmp_path: Path) -> None:
    save(table([0, 1]))
    assert str(absolute_source("hf:saved?label=label")) == f"hf:{tmp_path}/saved?label=label"
    assert str(absolute_source("hf:owner/set")) == "hf:owner/set"


def test_a_picture_is_found_by_its_name() -> None:
    save({"train": table([0, 1] * 3), "test": table([0, 1])})
    assert (np.asarray(ListedPictures("saved").load("test/000001")) == draw(1)).all()


def test_tables_are_not_read_into_memory() -> None:
    """64 MB of incompressible images; mapped pages are the system's, anonymous memory is ours."""
    noise = np.random.default_rng(0)
    rows = 64
    content = [{"bytes": png(i) + noise.bytes(2**20), "path": None} for i in range(rows)]
    features = Features({"img": datasets.Image(), "label": ClassLabel(names=NAMES)})
    save({"train": Dataset.from_dict({"img": content, "label": [0, 1] * (rows // 2)}, features), "val": table([0, 1])})
    del content
    open_data("saved")
    before = _anonymous_megabytes()
    data = open_data("saved")
    assert sum(len(batch.images) for batch in EvalLoader(data.train, size=(4, 4), batch_size=8)) == rows
    assert sum(data.train.images.measure(i) for i in range(rows)) > 2**26
    assert _anonymous_megabytes() - before < 16


def _anonymous_megabytes() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def test_unlabelled_images_need_no_classes(tree: Tree) -> None:
    data = open_data(tree({"a": 3, "b": 3}, size=(9, 10), name="labelled"))
    empty = table([-1, -1, -1, 0]).remove_columns("label")
    name = save({"train": empty, "test": table([0, 1])})
    opened = open_unlabelled(name, data)
    assert opened.split.relative_paths == tuple(f"train/{row:06}" for row in range(4))
    assert [opened.split.images.read(row) for row in range(4)] == [png(row) for row in range(4)]
    assert (opened.split.targets == -1).all()
    assert len(open_unlabelled(f"hf:{name}?split=train[:2]+test", data).split) == 4
    with pytest.raises(DataError, match="has no column of images"):
        open_unlabelled(save(table([0, 1]).remove_columns("img"), "bare"), data)
