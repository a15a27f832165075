"""Data that is no plain folder is checked in the same way: shards, tables, images of several labels."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from PIL import Image

from dropkd.data.check import check_data
from dropkd.demo.images import load_demo_split

from .cases import expect, paths_of


def encode(number: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(load_demo_split("train").images[number]).save(file, "PNG")
    return file.getvalue()


def write_shard(path: Path, images: list[bytes]) -> None:
    with tarfile.open(path, "w") as shard:
        for number, image in enumerate(images):
            for suffix, content in (("png", image), ("cls", str(number % 2).encode())):
                member = tarfile.TarInfo(f"{number:03}.{suffix}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))


def test_images_in_shards_are_named_by_shard_and_key(tmp_path: Path) -> None:
    train = [encode(number) for number in range(30)]
    write_shard(tmp_path / "train-000.tar", [*train[:7], train[7][:90], *train[8:]])
    write_shard(tmp_path / "test-000.tar", [encode(number) for number in (100, 101, 3)])
    check = check_data(tmp_path)
    assert paths_of(expect(check, "unreadable", "error")) == [["train-000.tar/007.png"]]
    (leak,) = paths_of(expect(check, "same-across-splits", "error"))
    assert leak == ["test-000.tar/002.png", "train-000.tar/003.png"]
    assert check.pictures["train-000.tar/003.png"].startswith(b"\x89PNG")


def test_sets_of_labels_are_counted_for_each_class_and_compared_as_sets(tmp_path: Path) -> None:
    rows = ["path,labels,split"]
    for number in range(30):
        (tmp_path / f"{number}.png").write_bytes(encode(number))
        labels = ("cat", "cat|dog", "dog|bird")[number % 3]
        rows.append(f"{number}.png,{labels},{'train' if number < 24 else 'val'}")
    (tmp_path / "again.png").write_bytes(encode(1))
    (tmp_path / "list.csv").write_text("\n".join([*rows, "again.png,dog,train"]))
    check = check_data(tmp_path / "list.csv")
    assert dict(zip(check.classes, check.counts["train"], strict=True)) == {"bird": 8, "cat": 16, "dog": 17}
    (item,) = expect(check, "same-with-other-label", "warning").items
    assert {image.label for image in item.images} == {"cat+dog", "dog"}
    assert check.total_name == "labels"
