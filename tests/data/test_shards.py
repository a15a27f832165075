from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from webdataset import tariterators

from dropkd.data import EvalLoader, Recipe, TrainLoader, absolute_source, open_data, open_unlabelled
from dropkd.data.pictures import ListedPictures
from dropkd.data.shard_names import expand_braces
from dropkd.data.tar_samples import index_tar
from dropkd.errors import ConfigError, DataError, DropKDError

from .shard_writing import Sample, draw, numbered, png, write_shard


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPKD_CACHE", str(tmp_path / "kept"))
    monkeypatch.chdir(tmp_path)


def refuse(text: str, error: type[DropKDError] = DataError) -> str:
    with pytest.raises(error) as caught:
        open_data(text)
    return str(caught.value)


def add(archive: tarfile.TarFile, name: str, content: bytes, **about: Any) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in about.items():
        setattr(member, key, value)
    archive.addfile(member, io.BytesIO(content))


def sizes(text: str, **options: Any) -> dict[str, int]:
    return {split.name: len(split) for split in open_data(text, **options).splits}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["png", "seg.png", "JPG"]), st.integers(0, 9), st.booleans(), st.sampled_from(["", "a/b/"])
        ),
        min_size=1,
        max_size=8,
    )
)
def test_the_index_finds_the_bytes_that_the_library_reads(
    tmp_path: Path, kinds: list[tuple[str, int, bool, str]]
) -> None:
    samples: list[Sample] = []
    for i, (ending, label, has_text, folder) in enumerate(kinds):
        key = f"{folder}{i:03}"
        samples.append((key, {ending: png(i, (2, 3)), "cls": str(label)} | ({"txt": "words"} if has_text else {})))
    path = write_shard(tmp_path / "one.tar", samples)
    index = index_tar(path)
    with path.open("rb") as file:
        members = ({**member, "__url__": ""} for member in tariterators.tar_file_iterator(file))
        read = list(tariterators.group_by_keys(members))
    assert index.mistakes == []
    assert [name.partition(".")[0] for name in index.names] == [sample["__key__"] for sample in read]
    assert index.labels == [sample["cls"].decode() for sample in read]
    whole = path.read_bytes()
    for sample, offset, size, (ending, *_) in zip(read, index.offset, index.size, kinds, strict=True):
        assert whole[offset : offset + size] == sample[ending.lower()]


@pytest.mark.parametrize(
    "text",
    ["shards", "shards/*.tar", "shards/{train,val}-{000..001}.tar", "wds:shards", "shards?train=train-{000..001}.tar"],
)
def test_shards_are_named_in_many_ways(text: str) -> None:
    for k in range(2):
        write_shard(Path(f"shards/train-{k:03}.tar"), numbered(10 * k, 10))
        write_shard(Path(f"shards/val-{k:03}.tar"), numbered(100 + 2 * k, 2))
    data = open_data(text)
    assert sizes(text) == {"train": 20, "val": 4}
    assert data.classes == ("0", "1")
    assert data.train.relative_paths[:2] == ("train-000.tar/000000.png", "train-000.tar/000002.png")
    assert data.train.images.read(1) == png(2)
    assert "classes are those of .cls" in data.notes


def test_a_single_shard_without_splits_is_cut_in_three() -> None:
    write_shard(Path("all.tar"), numbered(0, 20))
    assert sizes("all.tar") == {"train": 16, "val": 2, "test": 2}


def test_splits_may_be_folders_or_options() -> None:
    write_shard(Path("set/train/0.tar"), numbered(0, 8))
    write_shard(Path("set/validation/0.tar"), numbered(10, 4))
    write_shard(Path("set/test/0.tar"), numbered(20, 6))
    assert sizes("set") == {"train": 8, "val": 4, "test": 6}
    assert open_data("set").test.relative_paths[0] == "test/0.tar/000020.png"
    write_shard(Path("odd/a.tar"), numbered(0, 8))
    write_shard(Path("odd/b.tar"), numbered(10, 4))
    write_shard(Path("odd/c.tar"), numbered(20, 6))
    assert sizes("odd?train=a.tar&test={b,c}.tar", validation_fraction=0.25) == {"train": 6, "val": 2, "test": 10}
    assert "ignored 1 shard whose names tell no split: b.tar" in open_data("odd?train=a.tar&test=c.tar").notes


def test_shards_and_files_of_the_same_images_give_the_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when an epoch is gone on with from its middle, and with workers."""
    for name, rows in {"train": range(13), "val": range(13, 17)}.items():
        for i in rows:
            path = Path(f"folder/{name}/{i % 2}/{i:06}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(i))
        write_shard(Path(f"shards/{name}-0.tar"), numbered(rows[0], len(rows)))
    monkeypatch.setattr("dropkd.data.reading.PACK_BYTES", 0)
    files, shards = open_data("folder"), open_data("shards")
    options = {"size": (6, 6), "recipe": Recipe("resized"), "batch_size": 4, "seed": 3}
    expected = list(TrainLoader(files.train, **options).epoch(1))
    for workers, start in ((0, 0), (2, 0), (2, 2)):
        found = list(TrainLoader(shards.train, workers=workers, **options).epoch(1, start))
        assert all(a.images.equal(b.images) for a, b in zip(expected[start:], found, strict=True))
    frames = [EvalLoader(data.train, size=(6, 6), batch_size=4) for data in (files, shards)]
    assert all(a.images.equal(b.images) for a, b in zip(*frames, strict=True))


@pytest.mark.parametrize(
    ("members", "options", "classes", "where"),
    [
        ({"cls": ["7", "11"]}, "", ("7", "11"), "cls"),
        ({"cls.txt": ["dog\n", "cat"]}, "", ("cat", "dog"), "cls.txt"),
        ({"json": ['{"label": 3}', '{"label": 20.0}']}, "", ("3", "20"), "json:label"),
        ({"json": ['{"a": {"b": "x"}}', '{"a": {"b": "y"}}']}, "?label=json:a.b", ("x", "y"), "json:a.b"),
        ({"txt": ["dog", "cat"]}, "", ("cat", "dog"), "txt"),
        ({"cls": ["0", "1"], "breed": ["pug", "lab"]}, "?label=breed", ("lab", "pug"), "breed"),
    ],
)
def test_classes_are_found_where_shards_keep_them(
    members: dict[str, list[str]], options: str, classes: tuple[str, ...], where: str
) -> None:
    with tarfile.open("one.tar", "w") as archive:
        for i in range(12):
            add(archive, f"{i}.png", png(i))
            for ending, values in members.items():
                add(archive, f"{i}.{ending}", values[i % 2].encode())
    data = open_data(f"one.tar{options}")
    assert data.classes == classes
    assert f"classes are those of .{where}" in data.notes
    path = data.train.relative_paths[0]
    values = [str(v).strip() for v in next(iter(members.values()))] if not options else None
    if values and where in ("cls", "txt", "cls.txt"):
        assert classes[data.train.targets[0]] == values[int(Path(path).stem) % 2]


@pytest.mark.parametrize("name", ["classes.txt", "labels.txt", "elsewhere.names"])
def test_a_file_names_the_classes(name: str) -> None:
    write_shard(Path("shards/0.tar"), numbered(0, 12))
    Path(f"shards/{name}").write_text("dog\ncat\n")
    option = "" if name != "elsewhere.names" else f"?classes={name}"
    data = open_data(f"shards{option}")
    assert data.classes == ("dog", "cat")
    assert data.train.targets.tolist() == sorted(data.train.targets.tolist())
    assert [int(Path(p).stem) % 2 for p in data.train.relative_paths] == data.train.targets.tolist()
    Path(f"shards/{name}").write_text("dog\n")
    said = refuse(f"shards{option}")
    assert ": 6 images have no class that is known:" in said
    assert f"0.tar/000001.png: the class must be one of 0 to 0, for the 1 name in 'shards/{name}', got '1'" in said
    Path(f"shards/{name}").write_text("dog\ncat\ndog\n")
    assert "must name a class on each line; 'dog' is there twice" in refuse(f"shards{option}")


def test_a_truncated_shard_is_named_with_its_last_whole_sample() -> None:
    write_shard(Path("shards/train-0.tar"), numbered(0, 12))
    write_shard(Path("shards/val-0.tar"), numbered(20, 4))
    path = Path("shards/train-0.tar")
    whole = path.read_bytes()
    index = index_tar(path)
    # In the middle of the image of the ninth sample.
    path.write_bytes(whole[: int(index.offset[8]) + 20])
    said = refuse("shards")
    assert "1 mistake:" in said
    assert "train-0.tar is truncated after" in said
    assert "in the middle of '000008." in said
    assert "its last whole sample is '000007', number 8" in said
    assert "--skip-unreadable" in said
    data = open_data("shards", skip_unreadable=True)
    assert len(data.train) == 8
    assert any("skipped 1 mistake (train-0.tar is truncated" in note for note in data.notes)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1, exclude_max=True))
def test_wherever_a_shard_is_cut_what_is_whole_is_kept(tmp_path: Path, share: float) -> None:
    path = write_shard(tmp_path / "cut.tar", numbered(0, 6))
    end = index_tar(path)
    whole = path.read_bytes()
    cut = int((end.offset[-1] + end.size[-1]) * share)
    path.write_bytes(whole[:cut])
    index = index_tar(path)
    assert len(index.mistakes) == 1
    kept = len(index.names)
    assert index.names == end.names[:kept]
    assert index.labels == end.labels[:kept]
    assert all(o + s <= cut for o, s in zip(index.offset, index.size, strict=True))
    # No more than one sample is lost that could have been kept.
    assert kept >= sum(int(o + s) <= cut for o, s in zip(end.offset, end.size, strict=True)) - 1


def test_a_shard_whose_middle_is_damaged_is_no_whole_shard() -> None:
    path = write_shard(Path("one.tar"), numbered(0, 12))
    data = bytearray(path.read_bytes())
    middle = int(index_tar(path).offset[6]) - 512
    data[middle : middle + 512] = b"\xff" * 512
    path.write_bytes(data)
    assert "one.tar can't be read beyond byte" in refuse("one.tar")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty (0 bytes)"),
        (b"<html>not found</html>" * 100, "is no tar file"),
        (gzip.compress(b"x" * 5000, mtime=0), "is compressed with gzip"),
        (bytes(10240), "holds no images"),
    ],
)
def test_what_is_no_shard_says_what_it_is(content: bytes, message: str) -> None:
    Path("one.tar").write_bytes(content)
    assert f"one.tar {message}" in refuse("one.tar")


@pytest.mark.parametrize("ending", [".tar.gz", ".tgz", ".tar.zst"])
def test_a_compressed_shard_is_refused_with_what_to_do(ending: str) -> None:
    Path(f"one{ending}").write_bytes(b"")
    said = refuse(f"one{ending}")
    assert f"'one{ending}' is a compressed archive" in said
    assert "unpack it to a plain .tar" in said
    assert "unpack the folder and name that" in said


def test_samples_that_lack_something_are_listed() -> None:
    with tarfile.open("one.tar", "w") as archive:
        for i in range(12):
            add(archive, f"{i:02}.png", png(i))
            add(archive, f"{i:02}.cls", str(i % 2).encode())
        add(archive, "README.md", b"words")
        add(archive, "no-class.png", png(1))
        add(archive, "no-image.cls", b"1")
        add(archive, "twice.png", png(1))
        add(archive, "twice.png", png(2))
        add(archive, "twice.cls", b"1")
        add(archive, "two.png", png(1))
        add(archive, "two.jpg", png(1))
        add(archive, "two.cls", b"1")
        add(archive, "../out.png", png(1))
        add(archive, "/etc/out.png", png(1))
        add(archive, "empty.png", png(1))
        add(archive, "empty.cls", b"  ")
        add(archive, "link.png", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(archive, "bytes.png", png(3))
        add(archive, "bytes.cls", b"\xff\xfe")
    said = refuse("one.tar")
    for text in (
        "sample 'no-class' has no .cls",
        "sample 'no-image' has no image",
        "sample 'twice' has the file .png twice",
        "sample 'two' has several images (png, jpg); choose one: ?image=png",
        "has a file whose name leads out of it, '../out.png'",
        "has a file whose name leads out of it, '/etc/out.png'",
        "sample 'empty' has no class in .cls but ''",
        "sample 'bytes' has a class in 'bytes.cls' that is no text in UTF-8",
    ):
        assert f"one.tar {text}" in said
    data = open_data("one.tar", skip_unreadable=True)
    assert sum(len(split) for split in data.splits) == 12
    assert "ignored 1 file of no sample: one.tar/README.md" in data.notes
    assert not list(Path().rglob("out.png"))


def test_samples_whose_files_do_not_lie_together_are_whole() -> None:
    with tarfile.open("one.tar", "w") as archive:
        for i in range(12):
            add(archive, f"./{i}.png", png(i))
        for i in range(12):
            add(archive, f"./{i}.cls", str(i % 2).encode())
    assert sizes("one.tar") == {"train": 8, "val": 2, "test": 2}


@pytest.mark.parametrize("content", ["{", "[" * 100_000, '{"label": [1]}', '{"label": null}', '{"other": 1}', "{}"])
def test_json_without_a_class_is_listed(content: str) -> None:
    with tarfile.open("one.tar", "w") as archive:
        for i in range(12):
            add(archive, f"{i:02}.png", png(i))
            add(archive, f"{i:02}.json", content.encode() if i == 5 else json.dumps({"label": i % 2}).encode())
    said = refuse("one.tar")
    assert "1 mistake:\n  one.tar sample '05' has " in said


def test_an_archive_of_an_image_folder_is_told_from_shards() -> None:
    with tarfile.open("one.tar", "w") as archive:
        for i in range(6):
            add(archive, f"train/cat/{i}.png", png(i))
    said = refuse("one.tar")
    assert "no sample has a class that could be found" in said
    assert "If this is an archive of a folder of images, unpack it and name the folder." in said


def test_a_folder_of_images_beside_its_archive_is_a_folder(tmp_path: Path) -> None:
    for i in range(12):
        Path(f"set/{i % 2}").mkdir(parents=True, exist_ok=True)
        Path(f"set/{i % 2}/{i}.png").write_bytes(png(i))
    Path("set/set.tar").write_bytes(b"")
    assert "ignored 1 file that is no image: set.tar" in open_data("set").notes


def test_a_folder_of_runs_may_lie_beside_shards() -> None:
    write_shard(Path("set/0.tar"), numbered(0, 12))
    Path("set/runs/first").mkdir(parents=True)
    Path("set/runs/first/config.yaml").write_text("")
    assert sum(sizes("set").values()) == 12


def test_shards_are_not_read_into_memory() -> None:
    """64 MB of incompressible images, of which one at a time is in memory."""
    noise = np.random.default_rng(0)
    rows = [(f"{i:03}", {"png": png(i) + noise.bytes(2**20), "cls": str(i % 2)}) for i in range(64)]
    write_shard(Path("set/train-0.tar"), rows)
    write_shard(Path("set/val-0.tar"), numbered(100, 2))
    del rows
    open_data("set")
    before = anonymous_megabytes()
    data = open_data("set")
    assert sum(len(batch.images) for batch in EvalLoader(data.train, size=(4, 4), batch_size=8)) == 64
    assert sum(data.train.images.measure(i) for i in range(64)) > 2**26
    assert anonymous_megabytes() - before < 16


def anonymous_megabytes() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def test_classes_kept_in_two_ways_have_to_be_chosen() -> None:
    write_shard(Path("two/0.tar"), numbered(0, 6))
    write_shard(Path("two/1.tar"), [(f"{i}", {"png": png(i), "txt": "word"}) for i in range(6)])
    assert "the classes are not in one place: .cls in 0.tar, .txt in 1.tar" in refuse("two")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("s/{0..3}.tar", DataError, "3 of 4 shards are not there: 's/1.tar', 's/2.tar', 's/3.tar'"),
        ("s/x*.tar", DataError, "1 of 1 shards are not there: 's/x*.tar'"),
        ("s/{0.tar", ConfigError, "a brace is not closed"),
        ("s/{0}.tar", ConfigError, "braces hold a range or a list"),
        ("s/{3..1}.tar", ConfigError, "the range {3..1} is empty"),
        ("s/{0..999999999}.tar", ConfigError, "stands for more than 100,000 shards"),
        ("s/{0,0}.tar", ConfigError, "names the shard '0.tar' twice"),
        ("s?lable=cls", ConfigError, "unknown option 'lable' for this kind of data"),
        ("s?cache_gb=1", ConfigError, "unknown option 'cache_gb'"),
        ("s?train=../x/0.tar", ConfigError, "leads out of 's'"),
        ("s?classes=none.txt", DataError, "there is no file of classes 'none.txt'"),
        ("wds:pipe:cat s/0.tar", ConfigError, "commands are not run"),
        ("wds:empty", DataError, "there are no shards, files that end in .tar, in 'empty'"),
    ],
)
def test_a_name_that_stands_for_no_shards_is_refused(text: str, error: type[DropKDError], message: str) -> None:
    write_shard(Path("s/0.tar"), numbered(0, 6))
    write_shard(Path("x/0.tar"), numbered(0, 6))
    Path("empty").mkdir()
    assert message in refuse(text, error)


def test_an_image_that_can_not_be_decoded_is_listed_by_its_shard() -> None:
    write_shard(Path("one.tar"), [*numbered(0, 12), ("bad", {"png": b"no image", "cls": "1"})])
    said = refuse("one.tar")
    assert "1 of 13 images can't be read:\n  one.tar/bad.png: not an image that can be recognised" in said
    assert sum(sizes("one.tar", skip_unreadable=True).values()) == 12


def test_the_index_is_kept_and_made_again_when_the_shard_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shard(Path("one.tar"), numbered(0, 12))
    first = open_data("one.tar")
    (kept,) = (tmp_path / "kept" / "index").iterdir()
    with monkeypatch.context() as context:
        context.setattr("dropkd.data.shards.index_tar", None)
        assert open_data("one.tar").train.fingerprint() == first.train.fingerprint()
    kept.write_bytes(b"torn")
    assert open_data("one.tar").train.fingerprint() == first.train.fingerprint()
    write_shard(Path("one.tar"), numbered(100, 14))
    assert sum(sizes("one.tar").values()) == 14


def test_an_index_that_can_not_be_kept_is_made_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DROPKD_CACHE", str(tmp_path / "file" / "below"))
    write_shard(Path("one.tar"), numbered(0, 12))
    assert sum(sizes("one.tar").values()) == 12


def test_names_mean_the_same_from_another_folder(tmp_path: Path) -> None:
    Path("names.txt").write_text("")
    assert str(absolute_source("s/{0..3}.tar?classes=names.txt")) == (
        f"{tmp_path}/s/{{0..3}}.tar?classes={tmp_path}/names.txt"
    )
    assert str(absolute_source("wds:s")) == f"wds:{tmp_path}/s"
    once = absolute_source("https://host/a/{0..3}.tar?cache=c")
    assert str(once) == f"wds:https:/host/a/{{0..3}}.tar?cache={tmp_path}/c"
    assert absolute_source(once) == once


def test_a_picture_is_found_by_its_name() -> None:
    write_shard(Path("one.tar"), numbered(0, 12))
    assert (np.asarray(ListedPictures("one.tar").load("one.tar/000003.png")) == draw(3)).all()


@given(st.integers(0, 200), st.integers(0, 30), st.integers(1, 4), st.integers(1, 5))
def test_ranges_are_padded_as_shells_do(first: int, more: int, step: int, width: int) -> None:
    names = expand_braces(f"{{{first:0{width}}..{first + more:0{width}}..{step}}}")
    assert [int(name) for name in names] == list(range(first, first + more + 1, step))
    padded = max(len(str(first + more)), width) if len(f"{first:0{width}}") > len(str(first)) else None
    assert padded is None or {len(name) for name in names} == {padded}


def test_unlabelled_images_need_no_classes(tmp_path: Path) -> None:
    write_shard(Path("labelled.tar"), numbered(100, 30))
    data = open_data("labelled.tar")
    blind = [(key, {"png": members["png"]}) for key, members in numbered(0, 4)]
    write_shard(Path("pool/train-0.tar"), [*blind, ("about", {"txt": "no image"})])
    write_shard(
        Path("pool/train-1.tar"), [("held", {"png": data.val.images.read(0), "cls": "strange"}), *numbered(4, 2)]
    )
    write_shard(Path("pool/test-0.tar"), numbered(6, 2))
    opened = open_unlabelled("pool", data)
    assert opened.left_out == {"val": 1}
    assert [Path(path).name for path in opened.split.relative_paths] == [f"{i:06}.png" for i in range(6)]
    assert [opened.split.images.read(i) for i in range(6)] == [png(i) for i in range(6)]
    assert "classes" not in " ".join(opened.notes)
    # What was kept of the shards without their classes is not taken for what they hold with them.
    again = open_unlabelled("labelled.tar", data)
    assert again.known == len(again.split) == len(data.train)
    assert sizes("labelled.tar") == {split.name: len(split) for split in data.splits}
