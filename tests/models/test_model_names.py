from __future__ import annotations

import re

import pytest

from dropkd.errors import ModelError
from dropkd.models import build_network, create_model, model_names, native_input
from dropkd.models.names import find_library, is_model_name


def test_bare_name_is_own_then_timms_then_torchvisions() -> None:
    assert find_library("cifar_resnet8")[0].source == "dropkd"
    assert find_library("resnet18")[0].source == "timm"
    assert find_library("vit_b_16")[0].source == "torchvision"


@pytest.mark.parametrize(
    ("name", "source", "shortest"),
    [
        ("timm/resnet18", "timm", "resnet18"),
        ("torchvision/resnet18", "torchvision", "torchvision/resnet18"),
        ("torchvision/vit_b_16", "torchvision", "vit_b_16"),
        ("dropkd/cct_2_3x2", "dropkd", "cct_2_3x2"),
        ("resnet18.a1_in1k", "timm", "resnet18.a1_in1k"),
    ],
)
def test_prefix_picks_the_library(name: str, source: str, shortest: str) -> None:
    library, _, found = find_library(name)
    assert (library.source, found) == (source, shortest)


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("resnet81", "resnet18"),
        ("timm/resnt18", "resnet18"),
        ("torchvision/vit_b_17", "vit_b_16"),
        ("cifar_resnet9", "cifar_resnet8"),
        ("mobilnetv2_100", "mobilenetv2_100"),
    ],
)
def test_unknown_model_is_answered_with_the_nearest_name(name: str, suggestion: str) -> None:
    with pytest.raises(ModelError, match=rf"Unknown model '{name}'\. Did you mean '{suggestion}'\?.*`dropkd models"):
        build_network(name, num_classes=2)
    assert not is_model_name(name)


def test_wrong_tag_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(ModelError, match=r"no published weights 'resnet18.a1_in2k'.*a2_in1k.*Did you mean 'a1_in1k'\?"):
        build_network("resnet18.a1_in2k", num_classes=2)


def test_listing_is_filtered_by_any_part_of_the_name_or_by_a_pattern() -> None:
    names = [row.name for row in model_names("resnet18")]
    assert "resnet18" in names
    assert "torchvision/resnet18" in names
    assert "resnet50" not in names
    assert [row.name for row in model_names("cct_*")] == ["cct_2_3x2", "cct_4_3x2", "cct_7_3x1"]
    assert [row.name for row in model_names("*_b_16")] == ["vit_b_16"]
    assert model_names("no such model") == []


def test_listing_says_which_have_published_weights() -> None:
    rows = {row.name: row for row in model_names()}
    assert rows["resnet18"].pretrained
    assert rows["resnet18"].source == "timm"
    assert rows["vit_b_16"].source == "torchvision"
    assert not rows["cct_2_3x2"].pretrained
    assert len(rows) > 1000
    assert all(row.pretrained for row in model_names(pretrained_only=True))


def test_each_listed_name_is_found_again() -> None:
    for row in model_names("*18*") + model_names("*vit_b*") + model_names("c[ic]*"):
        assert find_library(row.name)[0].source == row.source


def test_native_input_is_that_of_the_published_weights() -> None:
    assert native_input("resnet18") == (224, 224)
    assert native_input("vit_large_patch14_clip_336") == (336, 336)
    assert native_input("vit_b_16") == (224, 224)
    assert native_input("cifar_resnet8") is None
    assert native_input("cct_2_3x2") is None


def test_created_model_is_the_plain_one() -> None:
    model = create_model("resnet18", num_classes=3)
    assert type(model).__module__ == "timm.models.resnet"
    assert model.fc.out_features == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nonsense": 3}, "timm can't build 'resnet18' with the options {'nonsense': 3}"),
        ({"block_args": object()}, "options of 'resnet18' must be numbers, texts and lists"),
    ],
)
def test_wrong_options_are_told(options: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=re.escape(message)):
        build_network("resnet18", num_classes=2, options=options)


def test_no_class_at_all_is_refused() -> None:
    with pytest.raises(ModelError, match="'resnet18' needs at least one class, got num_classes=0"):
        build_network("resnet18", num_classes=0)
