"""Several teachers that answer as one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dropkd.errors import ModelError
from dropkd.models import Network, build_network, count_parameters, ensemble, open_teacher, save_network
from dropkd.models.source_lists import join_sources, split_sources
from dropkd.models.teachers.ensemble import EnsembleTeacher

CLASSES = ("a", "b", "c")


def build(name: str, size: int, seed: int = 0, classes: tuple[str, ...] | None = CLASSES) -> Network:
    torch.manual_seed(seed)
    return build_network(name, num_classes=3, image_size=size, classes=classes).eval()


@pytest.fixture
def members() -> list[Network]:
    cropping = build("resnet10t", 40, classes=None)
    cropping.preprocessing.crop_fraction = 0.5
    return [build("cifar_resnet8", 16), build("cct_2_3x2", 28, 1), cropping]


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (5, 3, 30, 34), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("crop", [None, False])
def test_the_answer_is_the_mean_of_the_probabilities(members: list[Network], images: Tensor, crop: bool | None) -> None:
    joined = ensemble(members)
    shares = [member(images, crop=crop).logits.double().softmax(1) for member in members]
    answer = joined(images, crop=crop)
    torch.testing.assert_close(answer.logits.double().exp(), sum(shares) / 3, rtol=1e-5, atol=1e-7)
    assert answer.shapes == joined.shapes


def test_maps_embedding_and_norms_are_the_firsts(members: list[Network], images: Tensor) -> None:
    joined, first = ensemble(members), members[0]
    answer, alone = joined(images, preactivations=True), first(images, preactivations=True)
    assert joined.shapes.maps == first.shapes.maps
    assert all(torch.equal(one, other) for one, other in zip(answer.maps, alone.maps, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(answer.preactivations, alone.preactivations, strict=True))
    assert torch.equal(answer.embedding, alone.embedding)
    assert answer.classifier is None
    assert not joined.shapes.has_classifier
    assert [norm is None for norm in joined.norms] == [norm is None for norm in first.norms]
    assert joined(images, maps=False).maps == ()


def test_frames_are_made_for_the_member_that_wants_most(members: list[Network]) -> None:
    members[2].spec = members[2].spec.__class__(**{**members[2].spec.__dict__, "crop_fraction": 0.5})
    spec = ensemble(members).spec
    assert spec.name == "ensemble:cifar_resnet8+cct_2_3x2+resnet10t"
    assert (spec.image_size, spec.crop_fraction) == ((40, 40), 0.5)
    assert (spec.classes, spec.num_classes) == (CLASSES, 3)


def test_all_members_are_counted_moved_and_put_to_a_mode(members: list[Network]) -> None:
    joined = ensemble(members)
    assert count_parameters(joined.model) == sum(count_parameters(member.model) for member in members)
    assert not joined.training
    joined.train()
    assert all(member.training for member in members)
    joined.to("meta")
    assert all(member.preprocessing.mean.is_meta for member in members)


def test_extreme_logits_give_finite_answers(images: Tensor) -> None:
    one, other = build("cifar_resnet8", 16), build("cifar_resnet8", 16)
    for network, best in ((one, 0), (other, 1)):
        torch.nn.init.zeros_(network.model.fc.weight)
        network.model.fc.bias.data.fill_(-500).index_fill_(0, torch.tensor(best), 500.0)
    answer = ensemble([one, other]).logits(images)
    torch.testing.assert_close(answer[:, :2], torch.full((5, 2), 0.5).log())
    assert answer.isfinite().all()


def test_one_member_is_itself_and_none_is_told(members: list[Network]) -> None:
    assert ensemble(members[:1]) is members[0]
    with pytest.raises(ModelError, match="needs at least one network"):
        ensemble([])


def test_members_of_other_classes_are_told(members: list[Network]) -> None:
    wider = build_network("cifar_resnet8", num_classes=4)
    with pytest.raises(ModelError, match=r"same classes, but 'cifar_resnet8' 3 and 'cifar_resnet8' 4.*--label-map"):
        ensemble([members[0], wider])
    turned = build("cifar_resnet8", 16, classes=("a", "c", "b"))
    with pytest.raises(ModelError, match=r"class 1 is 'b' in 'cct_2_3x2' and 'c' in 'cifar_resnet8'.*--label-map"):
        ensemble([members[1], turned])


def test_sources_are_opened_each_in_its_own_way(tmp_path: Path, images: Tensor) -> None:
    one, other = build("cifar_resnet8", 16), build("cct_2_3x2", 28, 1)
    folder = tmp_path / "c++" / "run"
    folder.mkdir(parents=True)
    save_network(one, folder / "student.safetensors")
    save_network(other, folder / "other.safetensors")
    source = f"ensemble:{folder}+cct_2_3x2:{folder / 'other.safetensors'}"
    joined = open_teacher(source, image_size=64)
    assert isinstance(joined, EnsembleTeacher)
    assert torch.equal(joined.logits(images), ensemble([one, other]).logits(images))
    assert split_sources(source) == [str(folder), f"cct_2_3x2:{folder / 'other.safetensors'}"]
    assert join_sources(split_sources(source)) == source


def test_named_maps_are_the_firsts(tmp_path: Path) -> None:
    for number in range(2):
        save_network(build("cifar_resnet8", 16, number), tmp_path / f"{number}.safetensors")
    joined = open_teacher(f"ensemble:{tmp_path}/0.safetensors+{tmp_path}/1.safetensors", map_modules=["layer2"])
    assert [len(member.shapes.maps) for member in joined.members] == [1, 3]


@pytest.mark.parametrize("source", ["ensemble:", "ensemble:resnet18", "ensemble:resnet18+", "ensemble:+resnet18"])
def test_fewer_than_two_names_are_told(source: str) -> None:
    with pytest.raises(ModelError, match=r"An ensemble names two or more teachers joined by \+"):
        open_teacher(source)


def test_an_unknown_member_is_named() -> None:
    with pytest.raises(ModelError, match=r"Unknown model 'resnt50'\. Did you mean 'resnet50'\?"):
        open_teacher("ensemble:resnt50+resnet18")


def test_the_sigmoids_are_averaged_where_each_class_is_a_question_of_its_own() -> None:
    torch.manual_seed(0)
    members = [build_network("cifar_resnet8", num_classes=3, image_size=(32, 32)).eval() for _ in range(2)]
    both = ensemble(members)
    both.spec = replace(both.spec, multi_label=True)
    images = torch.rand(2, 3, 32, 32)
    expected = torch.stack([member(images).logits.sigmoid() for member in members]).mean(0)
    torch.testing.assert_close(both(images).logits.sigmoid(), expected)
