"""Published sets by name, on small files in the layout and the format of the real ones."""

from __future__ import annotations

import gzip
import json
import pickle
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast
from urllib.error import URLError

import numpy as np
import pytest
import torchvision
from PIL import Image
from scipy.io import savemat

from dropkd.data import EvalLoader, open_data
from dropkd.data.listing import Listing
from dropkd.data.torchvision_sets import NAMED_SETS
from dropkd.errors import ConfigError, DataError

rng = np.random.default_rng(0)


class OldPickler(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Pickles as Python 2 did when the files of CIFAR were made: texts and bytes are its strings."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_string(self, value: str | bytes) -> None:
        data = value if isinstance(value, bytes) else value.encode()
        self.write(b"T" + len(data).to_bytes(4, "little") + data)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string


def write_pickle(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        OldPickler(file, protocol=2).dump(content)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))


def pixels_of(images: np.ndarray) -> np.ndarray:
    """Return (N, 32, 32, 3) as CIFAR has it, (N, 3072)."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1)


def make_images(count: int, size: int = 32) -> np.ndarray:
    return rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@pytest.fixture
def cifar100(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    images, labels = make_images(300), np.arange(300)[::-1] % 100
    folder = tmp_path / "cifar-100-python"
    for name, rows in (("train", slice(0, 200)), ("test", slice(200, 300))):
        fine = labels[rows].tolist()
        write_pickle(
            folder / name,
            {"data": pixels_of(images[rows]), "fine_labels": fine, "coarse_labels": [k // 5 for k in fine]},
        )
    write_pickle(folder / "meta", {"fine_label_names": [f"thing_{k}" for k in range(100)]})
    return tmp_path, images, labels


def test_cifar100_gives_the_pixels_and_fine_labels_of_its_files(
    cifar100: tuple[Path, np.ndarray, np.ndarray],
) -> None:
    root, images, labels = cifar100
    data = open_data(f"torchvision:CIFAR100?root={root}", validation_fraction=0)
    assert data.classes[:2] == ("thing_0", "thing_1")
    assert (data.native_size, data.uniform, len(data.train), len(data.test)) == ((32, 32), True, 200, 100)
    assert (data.train.targets == labels[:200]).all()
    assert (data.train.pack.array[data.train.pack.rows] == images[:200]).all()
    assert (data.test.pack[7] == images[207]).all()
    (batch,) = EvalLoader(data.test, size=(32, 32), batch_size=100)
    assert (batch.images.permute(0, 2, 3, 1).numpy() == images[200:]).all()
    assert (
        "CIFAR100 has other numbers of images than published (in brackets): train 200 (50,000), test 100 (10,000)"
        in (data.notes)
    )


def test_the_same_pixels_come_from_torchvision_itself(
    cifar100: tuple[Path, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, *_ = cifar100
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    theirs = torchvision.datasets.CIFAR100(root, train=False)
    ours = open_data(f"torchvision:cifar100?root={root}").test
    assert [int(k) for k in ours.targets] == theirs.targets
    assert (ours.pack.array[ours.pack.rows] == theirs.data).all()
    assert ours.classes == tuple(theirs.classes)


def test_validation_is_cut_from_a_set_without_one(cifar100: tuple[Path, np.ndarray, np.ndarray]) -> None:
    data = open_data(f"torchvision:CIFAR100?root={cifar100[0]}", seed=3)
    assert data.val.class_counts.tolist() == [1] * 100
    assert set(data.val.relative_paths).isdisjoint(data.train.relative_paths)
    assert data.val.relative_paths[0].startswith("train/thing_")
    assert open_data(f"torchvision:CIFAR100?root={cifar100[0]}", seed=3).val.fingerprint() == data.val.fingerprint()


def test_the_folder_of_a_set_may_be_named_itself(cifar100: tuple[Path, np.ndarray, np.ndarray]) -> None:
    assert len(open_data(f"torchvision:CIFAR100?root={cifar100[0]}/cifar-100-python").test) == 100


def test_files_are_looked_for_in_data_of_the_working_folder(
    cifar100: tuple[Path, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "cifar-100-python").rename(tmp_path / "data" / "cifar-100-python")
    monkeypatch.chdir(tmp_path)
    assert len(open_data("torchvision:CIFAR100").test) == 100


def test_cifar10_comes_from_its_five_batches(tmp_path: Path) -> None:
    images, folder = make_images(60), tmp_path / "cifar-10-batches-py"
    for k, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        write_pickle(folder / name, {"data": pixels_of(images[10 * k : 10 * k + 10]), "labels": list(range(10))})
    write_pickle(folder / "batches.meta", {"label_names": [f"kind{k}" for k in range(10)]})
    data = open_data(f"torchvision:CIFAR10?root={tmp_path}", validation_fraction=0)
    assert data.train.class_counts.tolist() == [5] * 10
    assert (data.train.pack[49] == images[49]).all()
    assert (data.test.pack[0] == images[50]).all()


class Harmful:
    def __reduce__(self) -> Any:
        return (Path("harm").write_text, ("done",))


def test_a_pickle_with_more_than_arrays_is_refused(
    cifar100: tuple[Path, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar-100-python" / "test").write_bytes(pickle.dumps({"data": Harmful(), "fine_labels": []}))
    with pytest.raises(DataError, match=r"test' can't be read as a file of CIFAR \(it holds .*which is no array\)"):
        open_data(f"torchvision:CIFAR100?root={tmp_path}")
    assert not Path("harm").exists()


def spoil_end(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def write_other(file: Path) -> None:
    write_pickle(file, {"data": np.zeros((1, 3072), np.uint8), "labels": [1]})


def write_small(file: Path) -> None:
    write_pickle(file, {"data": np.zeros((2, 3000), np.uint8), "fine_labels": [1, 1]})


def write_label(file: Path) -> None:
    write_pickle(file, {"data": np.zeros((1, 3072), np.uint8), "fine_labels": [100]})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_end, r"train' can't be read as a file of CIFAR .*Unpack the archive again"),
        (write_other, r"train' is no file of this CIFAR: it has no 'fine_labels'"),
        (write_small, r"train' should hold 2 images of 3,072 bytes, but holds \(2, 3000\) of uint8"),
        (write_label, r"train': a label is out of range, they must be 0 to 99"),
    ],
)
def test_a_damaged_file_of_cifar_is_named(
    cifar100: tuple[Path, np.ndarray, np.ndarray], spoil: Callable[[Path], None], message: str
) -> None:
    spoil(cifar100[0] / "cifar-100-python" / "train")
    with pytest.raises(DataError, match=message):
        open_data(f"torchvision:CIFAR100?root={cifar100[0]}")


def write_idx(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes((0, 0, 8, values.ndim)) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    data = header + values.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_fashion_mnist_is_read_from_its_four_files(tmp_path: Path, suffix: str) -> None:
    grey = rng.integers(0, 256, (30, 28, 28), dtype=np.uint8)
    for part, rows in (("train", slice(0, 20)), ("t10k", slice(20, 30))):
        folder = tmp_path / "FashionMNIST" / "raw"
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", grey[rows])
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", np.arange(30, dtype=np.uint8)[rows] % 10)
    data = open_data(f"torchvision:FashionMNIST?root={tmp_path}", validation_fraction=0)
    assert data.classes[0] == "T-shirt/top"
    assert (data.test.pack[3] == grey[23][..., None]).all()
    assert data.test.relative_paths[0] == "test/T-shirt-top/00000"
    write_idx(tmp_path / "FashionMNIST" / "raw" / f"t10k-labels-idx1-ubyte{suffix}", np.zeros(9, np.uint8))
    with pytest.raises(DataError, match="has 9 labels for 10 images"):
        open_data(f"torchvision:FashionMNIST?root={tmp_path}")


def test_svhn_is_read_with_0_as_the_first_digit(tmp_path: Path) -> None:
    images = make_images(30)
    for name, rows in (("train", slice(0, 20)), ("test", slice(20, 30))):
        labels = np.arange(30)[rows] % 10
        content = {"X": images[rows].transpose(1, 2, 3, 0), "y": np.where(labels == 0, 10, labels)[:, None]}
        savemat(tmp_path / f"{name}_32x32.mat", {k: v.astype(np.uint8) for k, v in content.items()})
    data = open_data(f"torchvision:SVHN?root={tmp_path}", validation_fraction=0)
    assert data.test.targets.tolist() == list(range(10))
    assert (data.train.pack[5] == images[5]).all()
    assert "the extra images of SVHN are not used" in data.notes
    (tmp_path / "test_32x32.mat").write_bytes(b"half a file")
    with pytest.raises(DataError, match=r"can't read '.*test_32x32.mat' as a file of MATLAB"):
        open_data(f"torchvision:SVHN?root={tmp_path}")


def test_stl10_is_read_with_its_columns_and_rows_the_right_way(tmp_path: Path) -> None:
    images, folder = make_images(30, 96), tmp_path / "stl10_binary"
    folder.mkdir()
    for name, rows in (("train", slice(0, 20)), ("test", slice(20, 30))):
        images[rows].transpose(0, 3, 2, 1).tofile(folder / f"{name}_X.bin")
        (1 + np.arange(30, dtype=np.uint8)[rows] % 10).tofile(folder / f"{name}_y.bin")
    (folder / "class_names.txt").write_text("".join(f"kind{k}\n" for k in range(10)))
    data = open_data(f"torchvision:STL10?root={tmp_path}", validation_fraction=0)
    assert (data.train.pack[4] == images[4]).all()
    assert data.test.targets.tolist() == list(range(10))
    spoil_end(folder / "test_X.bin")
    with pytest.raises(DataError, match=r"test_X.bin' should hold 10 images, but has 276,380 bytes: it is cut off"):
        open_data(f"torchvision:STL10?root={tmp_path}")


def write_photo(path: Path, grey: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (grey,) * 3).save(path)


def greys_of(split: Any) -> list[int]:
    return [round(float(split.pack[i].mean())) for i in range(len(split))]


def test_flowers102_has_its_own_three_splits(tmp_path: Path) -> None:
    folder, labels = tmp_path / "flowers-102", np.arange(306) % 102 + 1
    for n in range(306):
        write_photo(folder / "jpg" / f"image_{n + 1:05}.jpg", int(labels[n]))
    numbers = np.arange(1, 307).reshape(3, 102)
    savemat(folder / "imagelabels.mat", {"labels": labels[None]})
    savemat(folder / "setid.mat", {"trnid": numbers[:1], "valid": numbers[1:2], "tstid": numbers[2:]})
    data = open_data(f"torchvision:Flowers102?root={tmp_path}")
    assert [len(split) for split in data.splits] == [102] * 3
    assert data.test.relative_paths[0] == "jpg/image_00205.jpg"
    assert np.abs(np.array(greys_of(data.val)) - data.val.targets - 1).max() <= 1
    assert data.classes[0] == "pink primrose"
    savemat(folder / "setid.mat", {"trnid": numbers[:1], "valid": numbers[1:2], "tstid": numbers[2:] + 1})
    with pytest.raises(DataError, match=r"setid.mat' names images that '.*imagelabels.mat' lacks"):
        open_data(f"torchvision:Flowers102?root={tmp_path}")


def test_flowers_without_names_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torchvision.datasets.Flowers102, "classes")
    test_names = (1, 2)
    folder = tmp_path / "flowers-102"
    for n in range(1, 307):
        write_photo(folder / "jpg" / f"image_{n:05}.jpg", 1)
    savemat(folder / "imagelabels.mat", {"labels": (np.arange(306) % 102 + 1)[None]})
    numbers = np.arange(1, 307).reshape(3, 102)
    savemat(folder / "setid.mat", {"trnid": numbers[0], "valid": numbers[1], "tstid": numbers[2]})
    classes = open_data(f"torchvision:Flowers102?root={tmp_path}").classes
    assert tuple(classes[k - 1] for k in test_names) == ("flower 1", "flower 2")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    folder = tmp_path / "oxford-iiit-pet"
    lines: dict[str, list[str]] = {"trainval": ["# a remark"], "test": []}
    for label, breed in enumerate(["Abyssinian", "american_bulldog", "Bengal"], 1):
        for i in range(3):
            write_photo(folder / "images" / f"{breed}_{i}.jpg", 10 * label)
            lines["test" if i == 2 else "trainval"].append(f"{breed}_{i} {label} 1 1")
    (folder / "annotations").mkdir()
    for name, rows in lines.items():
        (folder / "annotations" / f"{name}.txt").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_pets_are_named_by_their_breeds(pets: Path) -> None:
    data = open_data(f"torchvision:OxfordIIITPet?root={pets}", validation_fraction=0)
    assert data.classes == ("Abyssinian", "American Bulldog", "Bengal")
    assert (len(data.train), data.test.relative_paths[1]) == (6, "images/american_bulldog_2.jpg")
    assert np.abs(np.array(greys_of(data.train)) - 10 * (data.train.targets + 1)).max() <= 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Abyssinian_0 one 1 1", r"line 1: must look like 'Abyssinian_100 1 1 1', got 'Abyssinian_0 one 1 1'"),
        ("Abyssinian_0 2 1 1", r"line 1: the label 2 is 'American Bulldog' elsewhere, here 'Abyssinian'"),
    ],
)
def test_a_wrong_line_of_the_pets_is_named(pets: Path, line: str, message: str) -> None:
    (pets / "oxford-iiit-pet" / "annotations" / "test.txt").write_text(line)
    with pytest.raises(DataError, match=message):
        open_data(f"torchvision:OxfordIIITPet?root={pets}")


@pytest.fixture
def food(tmp_path: Path) -> Path:
    folder = tmp_path / "food-101"
    (folder / "meta").mkdir(parents=True)
    lists: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
    for label, kind in enumerate(["waffles", "apple_pie"]):
        for i in range(3):
            write_photo(folder / "images" / kind / f"{i}.jpg", 50 * label)
        lists["train"][kind], lists["test"][kind] = [f"{kind}/0", f"{kind}/1"], [f"{kind}/2"]
    for name, content in lists.items():
        (folder / "meta" / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def test_food101_is_read_by_its_lists(food: Path) -> None:
    data = open_data(f"torchvision:Food101?root={food}", validation_fraction=0)
    assert data.classes == ("apple_pie", "waffles")
    assert data.test.relative_paths == ("images/apple_pie/2.jpg", "images/waffles/2.jpg")
    assert greys_of(data.train) == [50, 50, 0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"can't read '.*test.json' as JSON"),
        ("[]", r"test.json' must hold a list of images for each class"),
        ('{"waffles": []}', r"train.json and test.json do not have the same classes"),
    ],
)
def test_a_wrong_list_of_food_is_named(food: Path, text: str, message: str) -> None:
    (food / "food-101" / "meta" / "test.json").write_text(text)
    with pytest.raises(DataError, match=message):
        open_data(f"torchvision:Food101?root={food}")


def test_an_absent_set_says_where_its_files_go_and_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        open_data(f"torchvision:CIFAR100?root={tmp_path}")
    said = str(caught.value)
    assert said.startswith(f"CIFAR100 is not in '{tmp_path}': there is no cifar-100-python/meta. ")
    assert f"'torchvision:CIFAR100?root={tmp_path}&download=true'" in said
    assert "'torchvision:CIFAR100?root=FOLDER'" in said
    assert "get https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz on another machine" in said
    assert f"so that {tmp_path}/cifar-100-python/meta is there" in said
    with pytest.raises(DataError, match=r"there is no such folder"):
        open_data(f"torchvision:SVHN?root={tmp_path}/none")


def test_an_archive_that_lies_there_is_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "cifar-100-python.tar.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"cifar-100-python.tar.gz is there: unpack it in '.*', which needs no network"):
        open_data(f"torchvision:CIFAR100?root={tmp_path}")


def test_a_download_that_fails_says_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fail)
    with pytest.raises(DataError) as caught:
        open_data(f"torchvision:CIFAR100?root={tmp_path}&download=true")
    said = str(caught.value)
    assert "tried https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz" in said
    assert "Name or service not known" in said
    assert "Without a network: get " in said


def test_a_download_fetches_every_split_once_and_keeps_stdout_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[str] = []

    def fetch(root: Path, split: str, download: bool) -> None:
        calls.append(split)
        print("Downloading")  # noqa: T201
        images = make_images(20)
        content = {"X": images.transpose(1, 2, 3, 0), "y": (np.arange(20) % 10 + 1)[:, None]}
        savemat(root / f"{split}_32x32.mat", content)

    monkeypatch.setattr(torchvision.datasets, "SVHN", fetch)
    name = f"torchvision:SVHN?root={tmp_path}&download=true"
    assert len(open_data(name).test) == 20
    assert len(open_data(name).test) == 20
    assert calls == ["train", "test"]
    assert capsys.readouterr().out == ""


def test_names_and_options_that_are_wrong_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown set 'torchvision:CIFAR_100'.*Did you mean 'CIFAR100'\?"):
        open_data("torchvision:CIFAR_100")
    with pytest.raises(ConfigError, match=r"download must be true or false, got 'maybe'"):
        open_data("torchvision:CIFAR100?download=maybe")
    with pytest.raises(ConfigError, match=r"unknown option 'roots' .*It has: root, download\. Did you mean 'root'\?"):
        open_data("torchvision:CIFAR100?roots=x")


def test_the_addresses_are_those_of_torchvision() -> None:
    from dropkd.data.torchvision_sets import NAMED_SETS

    def texts(value: object) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict | list | tuple):
            for part in value.values() if isinstance(value, dict) else value:
                yield from texts(part)

    for name, chosen in NAMED_SETS.items():
        kind = getattr(torchvision.datasets, name)
        known = " ".join(text for base in kind.__mro__[:2] for text in texts(cast("Any", dict(vars(base)))))
        assert chosen.url in known
        for archive in chosen.archives:
            assert re.search(rf"(?<![\w-]){re.escape(archive)}", known), (name, archive)


PUBLISHED = {
    "CIFAR10": (50_000, None, 10_000),
    "CIFAR100": (50_000, None, 10_000),
    "FashionMNIST": (60_000, None, 10_000),
    "Flowers102": (1_020, 1_020, 6_149),
    "Food101": (75_750, None, 25_250),
    "OxfordIIITPet": (3_680, None, 3_669),
    "STL10": (5_000, None, 8_000),
    "SVHN": (73_257, None, 26_032),
}


@pytest.mark.parametrize("name", NAMED_SETS)
def test_each_set_is_noted_to_have_other_numbers_than_published(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(folder: Path) -> Listing:
        splits = [split for split, count in zip(("train", "val", "test"), PUBLISHED[name], strict=True) if count]
        parts = [(split, make_images(4), np.array([0, 1, 0, 1])) for split in splits]
        return Listing.of_pixels(folder, ("one", "other"), parts)

    monkeypatch.setitem(NAMED_SETS, name, replace(NAMED_SETS[name], read=read, needs=(), folder=""))
    notes = open_data(f"torchvision:{name}?root={tmp_path}").notes
    listed = [
        f"{split} 4 ({count:,})"
        for split, count in zip(("train", "val", "test"), PUBLISHED[name], strict=True)
        if count is not None
    ]
    assert f"{name} has other numbers of images than published (in brackets): {', '.join(listed)}" in notes
