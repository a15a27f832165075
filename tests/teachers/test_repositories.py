"""Repositories of timm and transformers as teachers and students, from folders on disk."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_teachers import CLOTHES, KINDS, write_timm, write_transformers

import dropkd
from dropkd.errors import ModelError
from dropkd.export import export_run
from dropkd.models import build_network, create_model, open_network, open_teacher, save_network

IMAGES = torch.randint(0, 256, (3, 3, 40, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def load_reference(folder: Path) -> torch.nn.Module:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    return transformers.AutoModelForImageClassification.from_pretrained(folder).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_classifier_gives_its_own_logits_maps_embedding_and_classifier(
    repositories: Path, kind: str
) -> None:
    teacher = open_teacher(f"hf:{repositories / kind}")
    reference = load_reference(repositories / kind)
    pixels = teacher.preprocessing(IMAGES, crop=True)
    with torch.no_grad():
        expected = reference(pixels, output_hidden_states=True)
        answer = teacher(IMAGES)
    torch.testing.assert_close(answer.logits, expected.logits, rtol=1e-5, atol=1e-6)
    assert answer.classifier is not None
    own = [module for module in reference.modules() if isinstance(module, torch.nn.Linear)][-1]
    torch.testing.assert_close(answer.embedding @ answer.classifier.T + own.bias, expected.logits)
    assert [m.ndim for m in answer.maps] == [4] * len(answer.maps)
    assert answer.shapes == teacher.shapes
    # Maps are what transformers calls hidden states; Swin's are taken before they are joined for the next stage.
    states = expected.hidden_states[1:]
    if kind in ("vit", "deit"):
        assert [m.shape[2:] for m in answer.maps] == [(4, 4)] * 4
        for found, state in zip(answer.maps, states, strict=True):
            torch.testing.assert_close(found.flatten(2).transpose(1, 2), state[:, -16:])
    elif kind == "swin":
        assert [m.shape[1:] for m in answer.maps] == [(16, 16, 16), (32, 8, 8), (64, 4, 4)]
        torch.testing.assert_close(answer.maps[-1], expected.reshaped_hidden_states[-1])
    else:
        for found, state in zip(answer.maps, states, strict=True):
            torch.testing.assert_close(found, state)


def test_what_the_repository_says_of_images_and_classes_is_kept(repositories: Path) -> None:
    spec = open_teacher(f"hf:{repositories / 'vit'}").spec
    assert (spec.image_size, spec.interpolation, spec.crop_fraction) == ((32, 32), "bicubic", 1.0)
    assert (spec.mean, spec.std) == ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    assert spec.classes == CLOTHES
    assert spec.name == "transformers/vit"


def test_timm_repository_gives_timms_logits(repositories: Path, tmp_path: Path) -> None:
    model = write_timm(tmp_path / "pickled", pickled=True)
    for folder in (repositories / "timm", tmp_path / "pickled"):
        teacher = open_teacher(f"hf:{folder}")
        spec = teacher.spec
        assert (spec.name, spec.classes, spec.image_size) == ("vit_tiny_patch16_224", CLOTHES, (32, 32))
        assert (spec.mean, spec.std, spec.crop_fraction) == ((0.5,) * 3, (0.25,) * 3, 0.8)
        with torch.no_grad():
            expected = model(teacher.preprocessing(IMAGES, crop=True))
            torch.testing.assert_close(teacher.logits(IMAGES), expected)


@pytest.mark.parametrize("kind", ["vit", "resnet", "timm"])
def test_student_from_a_repository_opens_again_without_it(repositories: Path, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "repository"
    shutil.copytree(repositories / kind, folder)
    student = build_network(f"hf:{folder}", num_classes=5, pretrained=True, image_size=(24, 24)).eval()
    save_network(student, tmp_path / "student.safetensors")
    shutil.rmtree(folder)
    opened = open_network(tmp_path / "student.safetensors")
    assert opened.spec == student.spec
    assert opened.spec.image_size == (24, 24)
    assert torch.equal(opened.logits(IMAGES), student.logits(IMAGES))


def test_new_classes_get_a_fresh_head_over_the_trained_body(repositories: Path) -> None:
    teacher = open_teacher(f"hf:{repositories / 'vit'}")
    student = build_network(f"hf:{repositories / 'vit'}", num_classes=7, pretrained=True)
    same, other = teacher.model.state_dict(), student.model.state_dict()
    assert {key for key in same if not torch.equal(same[key], other[key])} == {"classifier.weight", "classifier.bias"}
    assert student.shapes.logits == 7
    fresh = build_network(f"hf:{repositories / 'vit'}", num_classes=7)
    assert not torch.equal(fresh.model.state_dict()["vit.embeddings.cls_token"], same["vit.embeddings.cls_token"])


def test_position_embeddings_are_resampled_to_another_size(repositories: Path) -> None:
    student = build_network(f"hf:{repositories / 'vit'}", num_classes=3, pretrained=True, image_size=64)
    assert [m[1:] for m in student.shapes.maps] == [(8, 8)] * 4


def test_weights_in_pieces_are_put_together(repositories: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pieces"
    shutil.copytree(repositories / "vit", folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    halves = [dict(list(tensors.items())[start::2]) for start in range(2)]
    index = {}
    for number, half in enumerate(halves):
        name = f"model-0000{number + 1}-of-00002.safetensors"
        save_file(half, folder / name)
        index |= dict.fromkeys(half, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    whole = open_teacher(f"hf:{repositories / 'vit'}")
    assert torch.equal(open_teacher(f"hf:{folder}").logits(IMAGES), whole.logits(IMAGES))
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"has no model-00002-of-00002\.safetensors"):
        open_teacher(f"hf:{folder}")


def test_unnamed_classes_are_unknown(tmp_path: Path) -> None:
    write_transformers(tmp_path, "resnet", ("LABEL_0", "LABEL_1"))
    assert open_teacher(f"hf:{tmp_path}").spec.classes is None


def test_a_model_that_wants_blue_first_gets_it(tmp_path: Path) -> None:
    write_transformers(tmp_path, "resnet")
    plain = open_teacher(f"hf:{tmp_path}")
    values = json.loads((tmp_path / "preprocessor_config.json").read_text())
    values |= {"image_processor_type": "MobileViTImageProcessor", "do_flip_channel_order": True}
    values |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    turned = open_teacher(f"hf:{tmp_path}")
    with torch.no_grad():
        expected = plain.model(turned.preprocessing(IMAGES, crop=True).flip(1))
    torch.testing.assert_close(turned.logits(IMAGES), expected)
    save_network(turned, tmp_path / "turned.safetensors")
    assert torch.equal(open_network(tmp_path / "turned.safetensors").logits(IMAGES), turned.logits(IMAGES))


def _spoil_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    config.update(changes)
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("timm", {"architecture": "resnet_none"}, r"a model 'resnet_none', which the installed timm does not know"),
        ("vit", {"model_type": "bert", "architectures": ["BertForMaskedLM"]}, r"BertForMaskedLM, which is no image cl"),
        ("vit", {"model_type": "own", "auto_map": {"AutoModel": "m.M"}}, r"Python code of its own \('own'\)"),
        ("vit", {"model_type": None}, r"neither 'architecture' \(timm\) nor 'model_type'"),
        ("vit", {"hidden_size": 48}, r"do not fit its config\.json"),
        ("timm", {"num_classes": 4}, r"head\.weight \(3, 24\), expected \(4, 24\)"),
        ("vit", {"num_hidden_layers": 5}, r"missing from the file"),
    ],
)
def test_a_config_that_does_not_fit_is_told(
    repositories: Path, tmp_path: Path, kind: str, changes: dict[str, object], message: str
) -> None:
    folder = tmp_path / "spoilt"
    shutil.copytree(repositories / kind, folder)
    _spoil_config(folder, **changes)
    with pytest.raises(ModelError, match=message):
        open_teacher(f"hf:{folder}")


def test_a_backbone_without_a_classifier_is_no_teacher_but_a_student(repositories: Path, tmp_path: Path) -> None:
    folder = tmp_path / "backbone"
    shutil.copytree(repositories / "vit", folder)
    tensors = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in tensors.items() if "classifier" not in k}, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"classifier\.weight \(3, 32\): missing from the file"):
        open_teacher(f"hf:{folder}")
    assert build_network(f"hf:{folder}", num_classes=4, pretrained=True).shapes.logits == 4


def test_damaged_and_half_fetched_files_are_named(repositories: Path, tmp_path: Path) -> None:
    folder = tmp_path / "half"
    shutil.copytree(repositories / "vit", folder)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"model\.safetensors' (is|ends|was)"):
        open_teacher(f"hf:{folder}")
    weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(ModelError, match=r"Git's note of it: fetch it by `git lfs pull`"):
        open_teacher(f"hf:{folder}")
    weights.rename(folder / "model.safetensors.incomplete")
    with pytest.raises(ModelError, match=r"'model.safetensors.incomplete' looks like a download that was cut off"):
        open_teacher(f"hf:{folder}")
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json' is damaged or no JSON"):
        open_teacher(f"hf:{folder}")


class _Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("executed",)


def test_a_pickle_in_a_repository_is_not_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_timm(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(_Trap()))
    with pytest.raises(ModelError, match=r"pytorch_model\.bin"):
        open_teacher(f"hf:{tmp_path}")
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("source", ["hf:/none/such", "hf:./none", "hf:one", "hf:a/b/c"])
def test_what_is_neither_a_folder_nor_a_repository_is_told(source: str) -> None:
    with pytest.raises(ModelError, match=r"names neither a folder that there is nor a repository of the hub"):
        open_teacher(source)


def test_options_are_checked() -> None:
    with pytest.raises(ModelError, match=r"unknown option 'revison'\. Did you mean 'revision'\?"):
        open_teacher("hf:org/name?revison=main")
    with pytest.raises(ModelError, match=r"the option 'revision' has no value"):
        open_teacher("hf:org/name?revision=")
    with pytest.raises(ModelError, match=r"names nothing after 'hf': give it as hf:ORG/NAME or hf:FOLDER"):
        open_teacher("hf:")


def test_transformers_models_build_by_type_and_options() -> None:
    options = {"hidden_sizes": [16, 32], "depths": [1, 1], "embedding_size": 16, "layer_type": "basic"}
    network = build_network("transformers/resnet", num_classes=3, image_size=32, options=options)
    assert [m[0] for m in network.shapes.maps] == [16, 32]
    with pytest.raises(ModelError, match=r"Unknown model 'transformers/resnett'\. Did you mean 'resnet'"):
        build_network("transformers/resnett", num_classes=3)
    with pytest.raises(ModelError, match=r"names no published weights\. Name a repository, 'hf:ORG/NAME'"):
        build_network("transformers/vit", num_classes=3, pretrained=True)


@pytest.mark.parametrize("kind", ["vit", "swin", "resnet"])
def test_the_plain_model_gives_logits(repositories: Path, kind: str) -> None:
    model = create_model(f"hf:{repositories / kind}", pretrained=True).eval()
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 3)


def test_a_student_of_transformers_leaves_as_onnx(repositories: Path, clothes: Path, tmp_path: Path) -> None:
    name = f"hf:{repositories / 'resnet'}"
    run = dropkd.train(clothes, model=name, epochs=1, batch_size=24, output=tmp_path / "run")
    assert export_run(run).path.is_file()


@pytest.mark.parametrize(("library", "source"), [("transformers", "hf:{}/vit"), ("open_clip", "clip:ViT-B-32/openai")])
def test_a_library_that_is_not_installed_is_told_with_its_extra(
    repositories: Path, monkeypatch: pytest.MonkeyPatch, library: str, source: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    extra = {"transformers": "transformers", "open_clip": "clip"}[library]
    with pytest.raises(ModelError, match=rf"not installed: pip install 'dropkd\[{extra}\]'"):
        open_teacher(source.format(repositories), classes=CLOTHES)


def test_the_list_of_models_knows_a_repository(repositories: Path) -> None:
    name = f"hf:{repositories / 'vit'}"
    assert [(row.name, row.pretrained) for row in dropkd.models.model_names(name)] == [(name, True)]
