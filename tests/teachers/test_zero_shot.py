"""Zero-shot teachers against OpenCLIP's and transformers' own way from class names to logits."""

from __future__ import annotations

import gc
import json
import math
import warnings
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import transformers
from safetensors.torch import save_file
from tiny_teachers import fill_cache, make_clip
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

from dropkd.contracts import Outputs
from dropkd.errors import ConfigError, ModelError
from dropkd.models import build_network, open_teacher, zero_shot_teacher
from dropkd.models.teachers.phrases import PROMPTS

CLASSES = ("ankle_boot", "sandal", "trouser")
IMAGES = torch.randint(0, 256, (4, 3, 70, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
Files = dict[str, Path]


def classify(model: Any, name: str, pixels: Tensor, templates: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Return embeddings and logits as OpenCLIP's own code gives them."""
    names = [label.replace("_", " ") for label in CLASSES]
    weights = open_clip.build_zero_shot_classifier(model, open_clip.get_tokenizer(name), names, templates)
    with torch.no_grad():
        embedded = model.encode_image(pixels, normalize=True)
    return embedded, model.logit_scale.exp() * embedded @ weights


@pytest.mark.parametrize("name", ["tiny-vit", "tiny-resnet"])
def test_logits_and_embedding_are_open_clips_own(clip_models: Files, name: str) -> None:
    teacher = open_teacher(f"clip:{name}:{clip_models[name]}", classes=CLASSES)
    answer = teacher(IMAGES)
    embedded, logits = classify(make_clip(name), name, teacher.preprocessing(IMAGES, crop=True), PROMPTS)
    torch.testing.assert_close(answer.logits, logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(answer.embedding, embedded, rtol=0, atol=1e-6)
    assert answer.classifier is not None
    torch.testing.assert_close(answer.embedding @ answer.classifier.T, answer.logits)
    assert teacher.spec.classes == CLASSES
    assert teacher.spec.interpolation == "bicubic"
    assert teacher.spec.mean == open_clip.OPENAI_DATASET_MEAN


def test_maps_are_those_of_the_image_tower(clip_models: Files) -> None:
    vit = open_teacher(f"clip:tiny-vit:{clip_models['tiny-vit']}", classes=CLASSES)
    assert vit.shapes.maps == ((32, 4, 4),) * 4
    pixels = vit.preprocessing(IMAGES, crop=True)
    found = make_clip("tiny-vit").visual.forward_intermediates(pixels, indices=4, output_fmt="NCHW")
    for ours, theirs in zip(vit(IMAGES).maps, found["image_intermediates"], strict=True):
        torch.testing.assert_close(ours, theirs)
    resnet = open_teacher(f"clip:tiny-resnet:{clip_models['tiny-resnet']}", classes=CLASSES)
    assert [m[1:] for m in resnet.shapes.maps] == [(16, 16), (8, 8), (4, 4), (2, 2)]


def test_the_text_tower_is_dropped(clip_models: Files) -> None:
    teacher = open_teacher(f"clip:tiny-vit:{clip_models['tiny-vit']}", classes=CLASSES)
    gc.collect()
    assert not any(type(thing) is open_clip.CLIP for thing in gc.get_objects())
    assert not any("token_embedding" in name for name, _ in teacher.named_parameters())


def test_phrases_and_templates_are_averaged_by_length_one(clip_models: Files) -> None:
    phrases = {"shoe": ["ankle boot", "sandal"], "trouser": "pair of trousers"}
    templates = ("a {} here.", "{}")
    teacher = zero_shot_teacher(f"tiny-vit:{clip_models['tiny-vit']}", phrases, prompts=templates)
    model, tokenize = make_clip("tiny-vit"), open_clip.get_tokenizer("tiny-vit")
    texts = ["a ankle boot here.", "ankle boot", "a sandal here.", "sandal"]
    mean = model.encode_text(tokenize(texts), normalize=True).mean(0)
    expected = model.encode_image(teacher.preprocessing(IMAGES, crop=True), normalize=True) @ (mean / mean.norm())
    torch.testing.assert_close(teacher(IMAGES).logits[:, 0], math.exp(3.0) * expected, rtol=0, atol=1e-5)
    assert teacher.spec.classes == ("shoe", "trouser")


@pytest.mark.parametrize("layout", ["state_dict", "module", "half"])
def test_layouts_of_training_scripts_are_read(clip_models: Files, tmp_path: Path, layout: str) -> None:
    state = make_clip("tiny-vit").state_dict()
    wrapped = {
        "state_dict": {"epoch": 3, "name": "x", "state_dict": state},
        "module": {"state_dict": {f"module.{key}": value for key, value in state.items()}},
        "half": {key: value.half() for key, value in state.items()},
    }[layout]
    torch.save(wrapped, tmp_path / "clip.pt")
    teacher = open_teacher(f"clip:tiny-vit:{tmp_path / 'clip.pt'}", classes=CLASSES)
    expected = open_teacher(f"clip:tiny-vit:{clip_models['tiny-vit']}", classes=CLASSES)
    tolerance = 0.2 if layout == "half" else 0.0
    torch.testing.assert_close(teacher.logits(IMAGES), expected.logits(IMAGES), rtol=0, atol=tolerance)


def test_openais_archive_is_read_without_running_it_and_gets_its_own_gelu(clip_models: Files, tmp_path: Path) -> None:
    model = make_clip("tiny-vit", force_quick_gelu=True)

    class Archive(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, module in model.named_children():
                setattr(self, name, module)
            for name in ("positional_embedding", "text_projection", "logit_scale"):
                setattr(self, name, getattr(model, name))
            for number, name in enumerate(("input_resolution", "context_length", "vocab_size")):
                self.register_buffer(name, torch.tensor(number))

        def forward(self, pixels: Tensor) -> Tensor:
            found: Tensor = self.visual(pixels)
            return found

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(Archive(), torch.rand(1, 3, 32, 32)).save(str(tmp_path / "ViT.pt"))
    teacher = open_teacher(f"clip:tiny-vit:{tmp_path / 'ViT.pt'}", classes=CLASSES)
    _, logits = classify(model, "tiny-vit", teacher.preprocessing(IMAGES, crop=True), PROMPTS)
    torch.testing.assert_close(teacher.logits(IMAGES), logits, rtol=0, atol=1e-5)


def write_open_clip(folder: Path, clip_models: Files) -> None:
    config = json.loads(clip_models["tiny-vit"].with_suffix(".json").read_text())
    recipe = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": recipe}))
    (folder / "open_clip_model.safetensors").write_bytes(clip_models["tiny-vit"].read_bytes())


def test_a_repository_of_open_clip_is_a_teacher(clip_models: Files, tmp_path: Path, offline: Path) -> None:
    write_open_clip(tmp_path / "folder", clip_models)
    fill_cache(offline, "org/clip", tmp_path / "folder")
    for source in (f"clip:hf:{tmp_path / 'folder'}", "clip:hf:org/clip"):
        teacher = open_teacher(source, classes=CLASSES)
        assert (teacher.spec.mean, teacher.spec.interpolation) == ((0.5,) * 3, "bilinear")
        _, logits = classify(make_clip("tiny-vit"), "tiny-vit", teacher.preprocessing(IMAGES, crop=True), PROMPTS)
        torch.testing.assert_close(teacher.logits(IMAGES), logits, rtol=0, atol=1e-5)
    with pytest.raises(ModelError, match=r"It is one of OpenCLIP: 'clip:hf:"):
        open_teacher(f"hf:{tmp_path / 'folder'}")


def test_published_weights_are_found_in_the_cache_with_their_own_gelu(
    clip_models: Files, tmp_path: Path, offline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        open_clip.pretrained._PRETRAINED,
        "tiny-vit",
        {"own": {"hf_hub": "org/tiny/", "quick_gelu": True, "mean": (0.3,) * 3}},
    )
    with pytest.raises(ModelError) as raised:
        open_teacher("clip:tiny-vit/own", classes=CLASSES)
    text = str(raised.value)
    assert (
        "open_clip_model.safetensors or open_clip_pytorch_model.bin of the Hugging Face repository 'org/tiny'" in text
    )
    assert f"looked in the cache {offline}" in text
    assert "'clip:tiny-vit:FILE'" in text
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "open_clip_model.safetensors").write_bytes(clip_models["tiny-vit"].read_bytes())
    fill_cache(offline, "org/tiny", tmp_path / "files")
    teacher = open_teacher("clip:tiny-vit/own", classes=CLASSES)
    assert teacher.spec.mean == (0.3,) * 3
    model = make_clip("tiny-vit", force_quick_gelu=True)
    _, logits = classify(model, "tiny-vit", teacher.preprocessing(IMAGES, crop=True), PROMPTS)
    torch.testing.assert_close(teacher.logits(IMAGES), logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "source", ["clip:ViT-L-14/openai", "clip:ViT-L/14", "clip:ViT-B-32/laion2b_s34b_b79k", "clip:RN50/cc12m"]
)
def test_published_weights_that_cannot_be_had_are_told(
    source: str, offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ModelError, match=r"could not be had: looked in .* asked (for )?http.*'clip:[\w-]+:FILE'"):
        open_teacher(source, classes=CLASSES)


def test_unknown_names_are_told_with_the_nearest(clip_models: Files) -> None:
    with pytest.raises(ModelError, match=r"OpenCLIP has no model 'ViT-B-23'\. Did you mean 'ViT-B-32'\?"):
        open_teacher("clip:ViT-B-23/openai", classes=CLASSES)
    with pytest.raises(ModelError, match=r"has no weights 'openia' of 'ViT-B-32'.*Did you mean 'openai'\?"):
        open_teacher("clip:ViT-B-32/openia", classes=CLASSES)
    with pytest.raises(ModelError, match=r"There is no file of weights '/none\.pt'"):
        open_teacher("clip:ViT-B-32:/none.pt", classes=CLASSES)
    with pytest.raises(ModelError, match=r"does not fit 'tiny-resnet'"):
        open_teacher(f"clip:tiny-resnet:{clip_models['tiny-vit']}", classes=CLASSES)
    with pytest.raises(ModelError, match=r"is a zero-shot teacher \(--teacher\).*its image tower is called 'ViT-B-32'"):
        build_network("clip:ViT-B-32", num_classes=3)


@pytest.mark.parametrize("suffix", [".csv", ".json", ".yaml"])
def test_class_names_come_from_a_file_of_any_kind(clip_models: Files, tmp_path: Path, suffix: str) -> None:
    table = {"trouser": "pair of trousers", "ankle_boot": ["ankle boot", "short boot"], "sandal": "sandal"}
    rows = [(name, phrase) for name, own in table.items() for phrase in ([own] if isinstance(own, str) else own)]
    text = "class, phrase\n" + "".join(f"{name}, {phrase}\n" for name, phrase in rows)
    file = tmp_path / f"names{suffix}"
    file.write_text(text if suffix == ".csv" else json.dumps(table))
    (tmp_path / "prompts.txt").write_text("a photo of a {}.\n\nan image of {}\n")
    weights = clip_models["tiny-vit"]
    source = f"clip:tiny-vit:{weights}?classes={file}&prompts={tmp_path / 'prompts.txt'}"
    by_data = open_teacher(source, classes=CLASSES)
    ordered = {name: table[name] for name in CLASSES}
    prompts = ("a photo of a {}.", "an image of {}")
    expected = zero_shot_teacher(f"tiny-vit:{weights}", ordered, prompts=prompts)
    assert torch.equal(by_data.logits(IMAGES), expected.logits(IMAGES))
    assert by_data.spec.classes == CLASSES
    # Without data the file's own order stands.
    assert open_teacher(source).spec.classes == tuple(table)


def test_every_mistake_in_the_names_is_a_line(tmp_path: Path) -> None:
    file = tmp_path / "names.yaml"
    file.write_text("ankle_boots: boot\nsandal: ''\n")
    with pytest.raises(ConfigError) as raised:
        open_teacher(f"clip:ViT-B-32:x.pt?classes={file}")
    assert str(raised.value) == f"{file}: class 'sandal' has no phrase, or an empty one."
    file.write_text("ankle_boots: boot\nsandal: sandal\n")
    with pytest.raises(ConfigError) as raised:
        open_teacher(f"clip:ViT-B-32:x.pt?classes={file}", classes=CLASSES)
    assert str(raised.value).splitlines() == [
        f"{file}: your data has no class 'ankle_boots'. Did you mean 'ankle_boot'?",
        f"{file}: your class 'ankle_boot' has no phrase. Did you mean 'ankle_boots'?",
        f"{file}: your class 'trouser' has no phrase.",
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", "", r"p\.txt: there is no template; write one on each line, such as 'a photo of a \{\}\.'"),
        (
            "p.txt",
            "a photo\n{}\nof {c}",
            r"p\.txt: template 'a photo' has no \{\}.*\n.*template 'of \{c\}' has no \{\}",
        ),
        ("p.txt", b"\xff\xfe\x00", r"can't be read as UTF-8 text"),
        ("p.txt", None, r"There is no file of prompts '.*p\.txt'"),
        ("c.csv", "name,words\na,b\n", r"must begin with a line that names the columns 'class' and 'phrase'"),
        ("c.csv", "class,phrase\n", r"c\.csv: there is no class"),
        ("c.json", "[1]", r"c\.json: must map each class to its phrase, got list"),
        ("c.json", "{", r"c\.json: is no JSON"),
        ("c.yaml", "a: 1\na: 2\n", r"c\.yaml: line 2: key 'a' stands twice"),
        ("c.txt", "a", r"must be a \.csv, \.json or \.yaml file"),
        ("c.yaml", None, r"There is no file of class names"),
    ],
)
def test_files_that_are_wrong_are_told(tmp_path: Path, name: str, content: str | bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    key = "prompts" if name.startswith("p") else "classes"
    with pytest.raises(ConfigError, match=message):
        open_teacher(f"clip:ViT-B-32:x.pt?{key}={path}", classes=CLASSES if key == "prompts" else None)


def test_without_classes_the_ways_to_name_them_are_said() -> None:
    with pytest.raises(ConfigError, match=r"knows no classes of its own: name them by 'clip:ViT-B-32/openai\?classes="):
        open_teacher("clip:ViT-B-32/openai")
    with pytest.raises(ConfigError, match="there is no class"):
        zero_shot_teacher("ViT-B-32/openai", [])


def write_transformers_clip(folder: Path, kind: str) -> Any:
    """Write a tiny CLIP or SigLIP of transformers with a tokenizer of a few words, and return its model."""
    words = ["<pad>", "<eos>", *["a", "photo", "of", "the", "ankle", "boot", "sandal", "trouser", ".", "close-up"]]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, **{"unk_token": "a"}))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    side = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**side, "vocab_size": len(words), "max_position_embeddings": 64, "eos_token_id": 1, "pad_token_id": 0}
    text |= {"bos_token_id": 1}
    vision = {**side, "image_size": 32, "patch_size": 8}
    more = {"projection_dim": 24} if kind == "clip" else {}
    config = transformers.AutoConfig.for_model(kind, text_config=text, vision_config=vision, **more)
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config).eval()
    with torch.no_grad():
        model.logit_scale.fill_(2.0)
    folder.mkdir()
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "model.safetensors")
    config.save_pretrained(folder)
    special = {"pad_token": "<pad>", "eos_token": "<eos>"}
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    fast.save_pretrained(folder)
    recipe = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 32}, "crop_size": 32}
    recipe |= {"image_mean": [0.4] * 3, "image_std": [0.3] * 3, "do_center_crop": True, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(recipe))
    return model


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_transformers_towers_give_transformers_logits(tmp_path: Path, kind: str) -> None:
    model = write_transformers_clip(tmp_path / "folder", kind)
    teacher = zero_shot_teacher(f"hf:{tmp_path / 'folder'}", CLASSES, prompts=["a photo of the {} ."])
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "folder")
    texts = [f"a photo of the {label.replace('_', ' ')} ." for label in CLASSES]
    padding: dict[str, Any] = {"padding": "max_length", "max_length": 64} if kind == "siglip" else {"padding": True}
    tokens = tokenizer(texts, return_tensors="pt", **padding)
    tokens.pop("token_type_ids", None)
    with torch.no_grad():
        expected = model(pixel_values=teacher.preprocessing(IMAGES, crop=True), **tokens).logits_per_image
    answer: Outputs = teacher(IMAGES)
    torch.testing.assert_close(answer.logits, expected, rtol=1e-4, atol=1e-5)
    assert answer.classifier is not None
    assert teacher.spec.mean == (0.4,) * 3
    assert [m.shape[1:] for m in answer.maps] == [(32, 4, 4)] * 2
