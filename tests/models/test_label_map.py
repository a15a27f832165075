"""Teachers of other classes, answering in those of the data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from timm.data.imagenet_info import ImageNetInfo
from torch import Tensor

from dropkd.errors import ConfigError
from dropkd.models import Network, build_network, map_labels
from dropkd.models.teachers.label_map import read_label_map, resolve_label_map

ANIMALS = ("cat", "dog", "car", "wolf", "tree")
OWN = ("canine", "feline")
LINES = "teacher,own\ndog,canine\nwolf,canine\ncat,feline\n"


@pytest.fixture
def teacher() -> Network:
    torch.manual_seed(2)
    return build_network("cifar_resnet8", num_classes=5, image_size=16, classes=ANIMALS).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def write(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "map.csv"
    path.write_text(text, encoding=encoding)
    return path


def test_probabilities_of_joined_classes_add_up(teacher: Network, images: Tensor, tmp_path: Path) -> None:
    mapped = map_labels(teacher, write(tmp_path, LINES), OWN)
    alone, answer = teacher(images), mapped(images)
    shares = alone.logits.softmax(1)
    expected = torch.stack([shares[:, 1] + shares[:, 3], shares[:, 0]], dim=1)
    torch.testing.assert_close(answer.logits.softmax(1), expected / expected.sum(1, keepdim=True))
    assert answer.shapes == mapped.shapes
    assert (mapped.spec.classes, mapped.spec.num_classes, mapped.shapes.logits) == (OWN, 2, 2)


def test_maps_embedding_and_preactivations_stay_what_they_are(teacher: Network, images: Tensor) -> None:
    mapped = map_labels(teacher, {"dog": "canine", "cat": "feline"}, OWN)
    alone, answer = teacher(images, preactivations=True), mapped(images, preactivations=True)
    assert all(torch.equal(one, other) for one, other in zip(alone.maps, answer.maps, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(alone.preactivations, answer.preactivations, strict=True))
    assert torch.equal(alone.embedding, answer.embedding)
    assert mapped(images, maps=False).maps == ()
    assert mapped.norms[-1] is not None
    assert torch.equal(mapped.logits(images), answer.logits)


def test_the_cut_is_the_teachers_own(images: Tensor) -> None:
    teacher = build_network("resnet10t", num_classes=3, image_size=32, classes=("a", "b", "c")).eval()
    teacher.preprocessing.crop_fraction = 0.5
    mapped = map_labels(teacher, {"a": "a", "b": "b", "c": "c"}, ("c", "a", "b"))
    assert torch.equal(mapped.logits(images), teacher.logits(images)[:, [2, 0, 1]])
    assert torch.equal(mapped(images, crop=False).logits, teacher(images, crop=False).logits[:, [2, 0, 1]])
    assert not torch.equal(mapped(images, crop=False).logits, mapped.logits(images))


def test_another_order_only_moves_logits_and_rows_of_the_classifier(teacher: Network, images: Tensor) -> None:
    own = tuple(sorted(ANIMALS))
    mapped = map_labels(teacher, {name: name for name in ANIMALS}, own)
    order = [ANIMALS.index(name) for name in own]
    answer = mapped(images)
    assert torch.equal(answer.logits, teacher.logits(images)[:, order])
    assert mapped.shapes.has_classifier
    assert torch.equal(answer.classifier, teacher.model.fc.weight[order])


def test_joined_classes_have_no_classifier(teacher: Network, images: Tensor) -> None:
    mapped = map_labels(teacher, {"dog": "canine", "wolf": "canine", "cat": "feline"}, OWN)
    assert not mapped.shapes.has_classifier
    assert mapped(images).classifier is None


def test_extreme_logits_stay_finite(teacher: Network) -> None:
    mapped = map_labels(teacher, {"dog": "canine", "wolf": "canine", "cat": "feline"}, OWN)
    joined = mapped._join(torch.tensor([[300.0, -300.0, 0.0, -310.0, 9.0]], dtype=torch.bfloat16))
    assert joined.dtype == torch.float32
    torch.testing.assert_close(joined, torch.tensor([[-300.0, 300.0]]), atol=1e-3, rtol=0)


def test_modes_and_devices_reach_the_teacher_inside(teacher: Network) -> None:
    mapped = map_labels(teacher, {"dog": "canine", "cat": "feline"}, OWN)
    assert not mapped.training
    assert mapped.train().network.model.training
    assert mapped.to("meta").used.is_meta
    assert teacher.preprocessing.mean.is_meta


def test_numbers_stand_for_classes_without_a_known_name() -> None:
    rows = read_label_map({0: "b", "2": "a", 3: "a"})
    found = resolve_label_map(rows, ("a", "b"), None, 4)
    assert found.groups == ((2, 3), (0,))
    assert found.unused == (1,)
    assert found.describe() == (
        "3 of the teacher's 4 classes stand for your 2; 1 leads nowhere and is left out (number 1)."
    )


def test_a_name_that_is_a_number_is_the_name() -> None:
    rows = read_label_map({"10": "a", "1": "b"})
    assert resolve_label_map(rows, ("a", "b"), ("1", "10"), 2).groups == ((1,), (0,))
    assert resolve_label_map(rows, ("a", "b"), ("1", "10"), 2).describe().endswith("none is left out.")


@pytest.mark.parametrize("name", ["n01440764", "tench, Tinca tinca", "tench", "0"])
def test_a_teacher_that_names_imagenets_classes_is_known_by_all_their_names(name: str) -> None:
    info = ImageNetInfo("imagenet-1k")
    described = [info.index_to_description(number) for number in range(1000)]
    label_map = resolve_label_map(read_label_map({name: "fish"}), ["fish"], described, 1000)
    assert label_map.groups == ((0,),)
    # The order of others is not ImageNet's, so WordNet's numbers say nothing of them.
    turned = described[::-1]
    assert resolve_label_map(read_label_map({"tench": "fish"}), ["fish"], turned, 1000).groups == ((999,),)
    with pytest.raises(ConfigError, match="the teacher has no class 'n01440764'"):
        resolve_label_map(read_label_map({"n01440764": "fish"}), ["fish"], turned, 1000)


@pytest.mark.parametrize("name", ["n01440764", "tench, Tinca tinca", "tench", "0"])
def test_imagenets_classes_are_known_by_name(name: str) -> None:
    found = resolve_label_map(read_label_map({name: "fish"}), ("fish",), None, 1000)
    assert found.groups == ((0,),)
    assert found.describe() == "1 of the teacher's 1,000 classes stand for your 1; 999 lead nowhere and are left out."


def test_spaces_columns_of_others_and_a_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    text = "note, teacher , own\nfirst, dog, canine\n,cat,feline\n\n"
    rows = read_label_map(write(tmp_path, text, "utf-8-sig"))
    assert [(row.teacher, row.own) for row in rows] == [("dog", "canine"), ("cat", "feline")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "",
            "must begin with a line that names the columns 'teacher' and 'own' (teacher's class, your class), got [].",
        ),
        ("teacher;own\na;b\n", "got ['teacher;own']"),
        ("techer,own\na,b\n", "got ['techer', 'own']."),
        ("teacher,own\n", "has no line below its columns"),
        ("teacher,own\ndog,\n", "line 2: the column 'own' is empty"),
        ("teacher,own\ndog\n", "line 2: the column 'own' is empty"),
    ],
)
def test_a_table_of_another_form_is_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_label_map(write(tmp_path, text))


def test_a_table_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no label map '.*none.csv'"):
        read_label_map(tmp_path / "none.csv")
    with pytest.raises(ConfigError, match="can't be read as UTF-8 text"):
        read_label_map(write(tmp_path, "teacher,own\nhäst,x\n", "latin-1"))
    with pytest.raises(ConfigError, match="can't be read as UTF-8 text"):
        read_label_map(tmp_path)


def test_all_mistakes_are_told_at_once(teacher: Network, tmp_path: Path) -> None:
    lines = "teacher,own\ndgo,canine\ncat,canin\n7,canine\nwolf,canine\nwolf,canine\n"
    path = write(tmp_path, lines)
    with pytest.raises(ConfigError) as caught:
        map_labels(teacher, path, OWN)
    assert str(caught.value).splitlines() == [
        f"{path}, line 2: the teacher has no class 'dgo'. Did you mean 'dog'?",
        f"{path}, line 3: your data has no class 'canin'. Did you mean 'canine'?",
        f"{path}, line 4: the teacher has 5 classes, numbered from 0, got 7.",
        f"{path}, line 6: the teacher's 'wolf' is named before ({path}, line 5).",
        "The label map leads to 1 of your 2 classes; no teacher's class is named for 'feline'.",
    ]


def test_names_of_a_teacher_that_says_none_are_told() -> None:
    with pytest.raises(ConfigError, match=r"names of the teacher's 5 classes are not known, got 'dog'\. Use numbers"):
        resolve_label_map(read_label_map({"dog": "a"}), ("a",), None, 5)
    with pytest.raises(ConfigError, match="'crane' may be the teacher's class 134 or 517: say which"):
        resolve_label_map(read_label_map({"crane": "a"}), ("a",), None, 1000)
