"""Networks from run folders, files, exports and the hub's names, ready to answer."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from torch import nn

import dropkd
from dropkd.errors import DataError, ModelError, RunError
from dropkd.models import build_network, save_network
from dropkd.sharing.licence import choose_licence
from dropkd.sharing.repository_config import describe_repository


def test_a_run_folder_its_file_and_its_export_answer_as_the_run_does(
    distilled_run: Path, photos_of: list[Path], tmp_path: Path
) -> None:
    expected = dropkd.Run.open(distilled_run).predict(photos_of)
    for place in (distilled_run, distilled_run / "student.safetensors"):
        assert dropkd.load(place).predict(photos_of) == expected
    exported = dropkd.export_run(distilled_run, output=tmp_path / "exported" / "student.onnx")
    for place in (exported.path, exported.path.parent):
        found = dropkd.load(place).predict(photos_of)
        assert [answer.label for answer in found] == [answer.label for answer in expected]
        assert [a.probability for a in found] == pytest.approx([a.probability for a in expected], abs=1e-4)


def test_a_loaded_network_is_a_network_with_names_and_preprocessing(distilled_run: Path) -> None:
    network = dropkd.load(distilled_run)
    assert isinstance(network, dropkd.models.Network)
    assert network.classes == dropkd.Run.open(distilled_run).classes
    assert not any(module.training for module in network.modules())
    images = torch.randint(0, 256, (2, 3, 40, 50), dtype=torch.uint8)
    answer = network(images)
    assert answer.logits.shape == (2, 3)
    assert len(answer.maps) > 1
    assert torch.equal(answer.logits, network.logits(images))
    # Each weight is there once, and a copy is a network of its own.
    weights = dropkd.Run.open(distilled_run).network().state_dict()
    assert set(network.state_dict()) == set(weights)
    other = copy.deepcopy(network).to(torch.float64)
    assert other.logits(images).dtype == torch.float64
    assert network.logits(images).dtype == torch.float32
    network.train()
    assert network.predict([Image.new("RGB", (28, 28))])
    assert network.training


def test_a_loaded_network_teaches(distilled_run: Path, clothes: Path, tmp_path: Path) -> None:
    run = dropkd.distill(
        clothes,
        teacher=dropkd.load(distilled_run),
        student="cifar_resnet8",
        method="at",
        epochs=1,
        teacher_check="off",
        output=tmp_path / "run",
    )
    assert run.is_finished


def test_images_in_memory_are_answered_as_their_files_are(distilled_run: Path, photos_of: list[Path]) -> None:
    network = dropkd.load(distilled_run)
    files = network.predict(photos_of[:3])
    mixed = network.predict([Image.open(photos_of[0]), photos_of[1], Image.open(photos_of[2]).convert("RGB")])
    assert [(a.label, a.probability) for a in mixed] == [(a.label, a.probability) for a in files]
    assert [str(answer.path) for answer in mixed] == ["image 0", str(photos_of[1]), "image 2"]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F", "YCbCr"])
def test_images_of_any_mode_can_be_shown(distilled_run: Path, mode: str) -> None:
    (answer,) = dropkd.load(distilled_run).predict([Image.new(mode, (31, 17))])
    assert 0 < answer.probability <= 1


def test_what_is_no_image_is_refused_in_words(distilled_run: Path, tmp_path: Path) -> None:
    network = dropkd.load(distilled_run)
    with pytest.raises(DataError, match="No images were given"):
        network.predict([])
    with pytest.raises(DataError, match=r"No such image: 'nowhere\.png'"):
        network.predict(["nowhere.png"])
    with pytest.raises(DataError, match="one that Pillow has opened, got Tensor"):
        network.predict([torch.zeros(3, 8, 8)])  # type: ignore[list-item]
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DataError, match=r"text\.png"):
        network.predict([tmp_path / "text.png"])


def test_a_single_file_may_stand_alone(distilled_run: Path, photos_of: list[Path]) -> None:
    network = dropkd.load(distilled_run)
    assert network.predict(photos_of[0]) == network.predict([photos_of[0]])  # type: ignore[arg-type]


class Own(nn.Module):
    """A network that no library has."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 8, 3, stride=2)
        self.head = nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images).relu().mean((2, 3)))


def test_a_module_of_ones_own_is_loaded_into_one_that_is_given(
    clothes: Path, photos_of: list[Path], tmp_path: Path
) -> None:
    run = dropkd.train(clothes, model=dropkd.models.wrap_model(Own(), image_size=28), epochs=1, output=tmp_path / "run")
    expected = run.network(Own())
    dropkd.push_run(run, "me/own", dry_run=tmp_path / "out")
    assert "model=module" in (tmp_path / "out" / "README.md").read_text()
    for place in (run.folder, tmp_path / "out"):
        with pytest.raises(ModelError, match="holds the weights of 'custom', which no library has"):
            dropkd.load(place)
        network = dropkd.load(place, model=Own())
        assert network.classes == tuple(run.metrics["classes"])
        images = torch.randint(0, 256, (2, 3, 28, 28), dtype=torch.uint8)
        assert torch.equal(network.logits(images), expected.logits(images))


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_efficientnet"])
@pytest.mark.parametrize("size", [(32, 32), (48, 32)])
def test_timm_builds_each_kind_of_network_with_its_size_crop_and_classes(
    name: str, size: tuple[int, int], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    names = ("<b>a</b>", "b | c", "\u202edrawrof", "e" * 300)
    network = build_network(name, num_classes=4, image_size=size, classes=names, crop_fraction=0.8).eval()
    described = describe_repository(network.spec, network.model, choose_licence("mit", None, ()))
    (tmp_path / "config.json").write_text(json.dumps(described))
    save_network(network, tmp_path / "model.safetensors")
    model = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert tuple(model.pretrained_cfg["label_names"]) == names
    config = timm.data.resolve_model_data_config(model)
    assert config["input_size"] == (3, *size)
    # 32 or 48 of 40 or 60: timm's frame is as large as dropkd's.
    assert int(size[0] / config["crop_pct"]) == size[0] / 0.8
    assert tuple(config["mean"]) == network.spec.mean
    images = torch.rand(2, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(model(images), network.model(images))
    loaded = dropkd.load(tmp_path)
    assert loaded.spec == network.spec
    assert loaded.classes == names


@pytest.mark.parametrize(
    "name",
    [
        "hf:",
        "hf:name",
        "hf:../name",
        "hf:/etc/passwd",
        "hf:owner/..",
        "hf:owner/name/..",
        "hf:~/name",
        "hf:owner//name",
        "hf:owner\\name/x",
        "hf:C:\\owner/name",
        "hf:owner/na me",
        "hf:owner/name@",
        "hf:owner/name@..",
        "hf:owner/name@../../x",
        "hf:owner/name@a b",
        "hf:owner/name@/main",
        "hf:owner/name@main\n",
        "hf:owner/name@refs/../x",
        "hf:owner/name?revision=../x",
        "hf:owner/name?branch=main",
        "hf:ow\x00ner/name",
    ],
)
def test_names_that_no_repository_can_have_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*arguments: object, **options: object) -> str:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", ask)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", ask)
    with pytest.raises(ModelError):
        dropkd.load(name)


def test_a_folder_is_not_taken_for_a_repository(distilled_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(distilled_run.parent)
    with pytest.raises(ModelError, match="A folder is given by its path alone"):
        dropkd.load(f"hf:{distilled_run}")
    assert dropkd.load("distilled").classes


def test_places_without_a_network_are_told_in_words(clothes: Path, distilled_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no file 'me/clothes'\. A repository of the hub is 'hf:me/clothes'"):
        dropkd.load("me/clothes")
    with pytest.raises(ModelError, match="holds no network"):
        dropkd.load(clothes)
    with pytest.raises(ModelError, match=r"holds no network\. It holds: nothing"):
        dropkd.load(tmp_path)
    (tmp_path / "config.yaml").write_text("{}")
    with pytest.raises(RunError, match=r"holds no student yet\. Go on with: dropkd resume"):
        dropkd.load(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ModelError, match="of a kind that is not loaded here"):
        dropkd.load(tmp_path / "notes.txt")
    (tmp_path / "bad.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ModelError, match="is damaged or no safetensors file"):
        dropkd.load(tmp_path / "bad.safetensors")


def test_a_description_that_was_tampered_with_is_refused_in_words(distilled_run: Path, tmp_path: Path) -> None:
    dropkd.push_run(distilled_run, "me/own", dry_run=tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())

    def write(content: object) -> None:
        (tmp_path / "out" / "config.json").write_text(json.dumps(content))

    for odd in ({"dropkd": {}}, {"dropkd": 3}, {"dropkd": {"network": {"name": "x"}}}):
        write(odd)
        with pytest.raises(ModelError):
            dropkd.models.build_network(f"hf:{tmp_path / 'out'}", num_classes=None, pretrained=True)
    config["dropkd"]["network"]["name"] = "hf:elsewhere/model"
    write(config)
    with pytest.raises(ModelError, match="names no model that a library could have: 'hf:elsewhere/model'"):
        dropkd.models.build_network(f"hf:{tmp_path / 'out'}", num_classes=None, pretrained=True)
    shutil.rmtree(tmp_path / "out")
    dropkd.push_run(distilled_run, "me/own", dry_run=tmp_path / "out")
    (tmp_path / "out" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"has no model\.safetensors"):
        dropkd.load(tmp_path / "out")
