"""Teachers of other libraries are asked where they look like all others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_teachers import KINDS

from dropkd.errors import ModelError
from dropkd.models import Network, map_labels, open_teacher
from dropkd.models.teachers.ensemble import EnsembleTeacher
from dropkd.overlays.viewing import Viewer

CLASSES = ("boot", "sandal", "bag")
# Those of transformers' and OpenCLIP's in which every token attends to every other.
ATTEND = ("vit", "deit", "timm", "tiny-vit")


def look(network: Network, way: str) -> Viewer:
    """Ask about two images and check what comes back."""
    images = torch.rand(2, 3, *network.spec.image_size, generator=torch.Generator().manual_seed(0))
    asked = torch.tensor([0, 1])
    viewer = Viewer(network, way, images)
    views = viewer.check(images, asked, list(viewer.look(images, asked)))
    torch.testing.assert_close(
        torch.stack([view.logits for view in views]), network.logits(images).float(), rtol=1e-3, atol=1e-4
    )
    seen = [view.values for view in views if view.values is not None]
    # Of random weights it may be that nothing speaks for a class; that of transformers is known to have some.
    assert seen or network.spec.name == "clip:tiny-resnet"
    assert all(values.max() == 1 and values.min() >= 0 and min(values.shape) >= 2 for values in seen)
    return viewer


@pytest.mark.parametrize("kind", [*KINDS, "timm"])
def test_those_of_a_repository_are(repositories: Path, kind: str) -> None:
    network = open_teacher(f"hf:{repositories / kind}")
    look(network, "gradcam")
    look(network, "occlusion")
    if kind in ATTEND:
        look(network, "attention")
    else:
        with pytest.raises(ModelError, match="no attention over all positions"):
            look(network, "attention")


@pytest.mark.parametrize("name", ["tiny-vit", "tiny-resnet"])
def test_those_that_know_classes_by_their_names_are(clip_models: dict[str, Path], name: str) -> None:
    network = open_teacher(f"clip:{name}:{clip_models[name]}", classes=CLASSES)
    for way in ("gradcam", "hirescam", "occlusion", *(["attention"] if name in ATTEND else [])):
        look(network, way)


def test_those_of_other_classes_are_asked_in_the_datas_classes(repositories: Path) -> None:
    network = open_teacher(f"hf:{repositories / 'vit'}")
    names = network.spec.classes or ()
    joined = map_labels(network, {name: "x" if k else "y" for k, name in enumerate(names)}, ["x", "y"])
    look(joined, "gradcam")
    look(joined, "occlusion")


def test_an_ensembles_map_is_the_mean_of_its_members(repositories: Path) -> None:
    members = [open_teacher(f"hf:{repositories / kind}") for kind in ("vit", "resnet")]
    viewer = look(EnsembleTeacher(members), "gradcam")
    assert [member.describe() for member in viewer.members] == [look(m, "gradcam").describe() for m in members]
