"""The model card: what it says of real runs, and what it keeps to itself."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_server import Hub
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st

import dropkd
from dropkd.cli import run_command_line
from dropkd.cli.options import assemble_config
from dropkd.config import Config, load_config
from dropkd.errors import ConfigError, RunError
from dropkd.models.public_names import name_model, name_source
from dropkd.sharing import write_card
from dropkd.sharing.card_making import rebuild_command
from dropkd.sharing.hiding import name_data
from dropkd.sharing.licence import Upstream, choose_licence, list_upstream
from dropkd.sharing.markdown import as_code, as_text

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def altered(distilled_run: Path, tmp_path: Path) -> Callable[[Change], Path]:
    """A copy of a finished run whose ``metrics.json`` a test changes."""

    def alter(change: Change) -> Path:
        run = tmp_path / "altered"
        shutil.copytree(distilled_run, run, dirs_exist_ok=True)
        metrics = json.loads((run / "metrics.json").read_text())
        change(metrics)
        (run / "metrics.json").write_text(json.dumps(metrics))
        return run

    return alter


def card_of(run: Path, tmp_path: Path, **options: str) -> str:
    path, _ = write_card(run, tmp_path / "card.md", **options)
    return path.read_text(encoding="utf-8")


def test_a_card_has_the_runs_own_figures_with_their_intervals_and_the_split(
    distilled_run: Path, tmp_path: Path
) -> None:
    text = card_of(distilled_run, tmp_path)
    metrics = dropkd.Run.open(distilled_run).metrics
    test, teacher = metrics["splits"]["test"], metrics["teacher"]["splits"]["test"]
    low, high = test["intervals"]["accuracy"]
    row = f"| Accuracy | {100 * test['accuracy']:.1f} % | {100 * low:.1f} to {100 * high:.1f} % | "
    assert f"{row}{100 * teacher['accuracy']:.1f} % |" in text
    assert f"On {test['images']} test images; the weights are those of epoch {metrics['selected']['epoch'] + 1}" in text
    assert "picked by validation accuracy, and the test images had no part in that" in text
    alone = json.loads((distilled_run / "baseline" / "metrics.json").read_text())["splits"]["test"]["accuracy"]
    assert f"trained without the teacher, with the same budget: {100 * alone:.1f} %" in text
    for name, images, recall in zip(
        metrics["classes"], test["by_class"]["images"], test["by_class"]["recall"], strict=True
    ):
        assert f"| {name} | {images} | {100 * recall:.1f} % |" in text


def test_the_hub_reads_the_same_figures_from_the_cards_head(distilled_run: Path, tmp_path: Path) -> None:
    path, _ = write_card(distilled_run, tmp_path / "card.md", licence="MIT", repository="me/clothes")
    head = ModelCard.load(path).data
    test = dropkd.Run.open(distilled_run).metrics["splits"]["test"]
    found = {result.metric_name: result for result in head.eval_results}
    assert found["Accuracy"].metric_value == pytest.approx(test["accuracy"], abs=1e-6)
    assert found["Accuracy"].dataset_split == "test"
    assert (head.license, head.library_name, head.pipeline_tag) == ("mit", "dropkd", "image-classification")
    assert {"dropkd", "knowledge-distillation", "kd"} <= set(head.tags)
    assert head.model_name == "clothes"


def test_a_card_names_no_place_of_this_machine(distilled_run: Path, clothes: Path, tmp_path: Path) -> None:
    text = card_of(distilled_run, tmp_path)
    for place in (str(tmp_path), str(clothes.parent), str(distilled_run.parent), str(Path.home()) + "/"):
        assert place not in text
    assert re.findall(r"(?<![\w:/.])/(?:tmp|home|root|work|var)\b", text) == []


def test_the_command_of_a_card_gives_the_same_configuration_again(
    distilled_run: Path, timm_run: Path, clothes: Path
) -> None:
    for run in (distilled_run, timm_run):
        config = load_config(run / "config.yaml")
        again = read_command(rebuild_command(config), data=clothes, teacher=timm_run)
        assert leave_out(again) == leave_out(config)


def read_command(command: str, *, data: Path, teacher: Path) -> Config:
    """The configuration that a command line stands for, with places in for its words in capitals."""
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:3] in (["dropkd", "distill", "DATA"], ["dropkd", "train", "DATA"])
    places = {"TEACHER": str(teacher)}
    parameters: dict[str, Any] = {"data": data, "set_": []}
    rest = iter(words[3:])
    for word in rest:
        if word == "--no-pretrained":
            parameters["pretrained"] = False
            continue
        value = next(rest)
        if word == "--set":
            parameters["set_"].append(value)
            continue
        number = {"--epochs": int, "--batch-size": int, "--seed": int, "--lr": float}.get(word, str)
        parameters[word.removeprefix("--").replace("-", "_")] = number(places.get(value, value))
    return assemble_config({**parameters, "config": None})


def leave_out(config: Config) -> dict[str, Any]:
    """A configuration without what the machine decides, and without where things are."""
    tree = config.model_dump(mode="json")
    tree["data"] = {k: v for k, v in tree["data"].items() if k not in ("workers", "packed", "packed_gb")}
    for key in ("output", "baseline", "teacher_check", "cache", "device", "threads", "loggers"):
        tree.pop(key)
    return tree


@pytest.mark.parametrize("status", ["interrupted", None])
def test_a_run_without_final_figures_has_no_card(
    altered: Callable[[Change], Path], status: str | None, tmp_path: Path
) -> None:
    def change(metrics: dict[str, Any]) -> None:
        metrics["status"] = status

    run = altered(change)
    with pytest.raises(RunError, match="has not finished, so there are no final figures") as raised:
        write_card(run, tmp_path / "card.md")
    assert f"dropkd resume {run}" in str(raised.value)
    assert not (tmp_path / "card.md").exists()


def test_figures_of_validation_images_are_called_so_and_warned_of(
    altered: Callable[[Change], Path], tmp_path: Path
) -> None:
    text = card_of(altered(lambda metrics: metrics["splits"].pop("test")), tmp_path)
    assert "| validation images | this model |" in text
    assert "On 6 validation images" in text
    assert "The data had no test images." in text
    assert yaml.safe_load(text.split("---")[1])["model-index"][0]["results"][0]["dataset"]["split"] == "validation"


def test_the_limits_are_those_that_the_figures_show(altered: Callable[[Change], Path], tmp_path: Path) -> None:
    def change(metrics: dict[str, Any]) -> None:
        metrics["imbalanced"] = True
        metrics["class_counts"] = [500, 40, 7]
        metrics["selection_bonus"] = {
            "figure": "accuracy",
            "selected": 0.5,
            "best": 0.53,
            "best_epoch": 1,
            "bonus": 0.03,
        }
        metrics["unlabelled"] = {"images": 1234}
        metrics["stopped_early"] = {"epochs": 3, "planned": 9, "patience": 2}
        test = metrics["splits"]["test"]
        test["by_class"]["images"] = [24, 0, 5]
        test["by_class"]["f1"][1] = test["by_class"]["recall"][1] = None
        test["ece"] = 0.2
        test["reliability"] = {"images": [10, 0], "confidence": [0.9, None], "accuracy": [0.7, None]}

    text = card_of(altered(change), tmp_path)
    limits = text.split("## Limits")[1].split("## ")[0]
    for sentence in (
        "It knows 3 classes and nothing else",
        "The classes are uneven, 7 to 500 training images",
        "Fewer than 20 training images of trouser",
        "No test image at all of sandal: how it does there is not known",
        "Fewer than 20 test images of trouser",
        "another epoch would have shown 3.00 points more",
        "1,234 images without labels were learned from too",
        "Training stopped after 3 of 9 epochs",
        "Its probabilities are too high, by 20 points on average",
        "Only 24 images judged it",
    ):
        assert sentence in limits
    assert "| sandal |" not in text.split("does worst on")[-1].split("## Limits")[0]


def test_limits_that_a_run_does_not_have_are_not_claimed(altered: Callable[[Change], Path], tmp_path: Path) -> None:
    def change(metrics: dict[str, Any]) -> None:
        metrics["imbalanced"] = False
        metrics["class_counts"] = [500, 500, 500]
        test = metrics["splits"]["test"]
        test["ece"], test["by_class"]["images"] = 0.01, [100, 100, 100]
        test["intervals"]["accuracy"] = [0.61, 0.64]
        test["shared_errors"] = None

    limits = card_of(altered(change), tmp_path).split("## Limits")[1].split("## ")[0]
    for word in ("uneven", "Fewer than", "No test image", "Only", "probabilities", "shares its blind spots", "stopped"):
        assert word not in limits


def test_names_are_shown_as_text_whatever_is_in_them(altered: Callable[[Change], Path], tmp_path: Path) -> None:
    odd = ["<script>alert(1)</script>", "a | b\n# c [d](http://e)", "\u202e\x1b[31m*f* `g` $h$"]

    def change(metrics: dict[str, Any]) -> None:
        metrics["classes"] = odd

    text = card_of(altered(change), tmp_path, data_name="<img src=x> | data")
    body = text.split("---\n", 2)[2]
    assert "<script" not in body
    assert "<img" not in body
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in body
    assert r"a \| b" in body
    assert "\n# c [" not in body
    assert r"\[d\](http://e)" in body
    assert not any(sign in text for sign in ("\x1b", "\u202e"))
    # Each row of each table has as many cells as its head.
    for table in re.findall(r"(?:^\|.*\|\n)+", body, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert yaml.safe_load(text.split("---\n")[1])["model-index"]


@given(st.text())
def test_any_text_stays_on_its_line_and_opens_no_html(text: str) -> None:
    for shown in (as_text(text), as_code(text)):
        assert len(shown.splitlines()) <= 1
        assert shown.isprintable()
    assert "<" not in as_text(text)
    assert not re.search(r"(?<!\\)(?:\\\\)*\|", as_text(text))
    fence = re.match("`+", as_code(text))
    assert fence is not None
    assert as_code(text).count(fence[0]) >= 2


def test_ten_thousand_classes_make_a_short_card(altered: Callable[[Change], Path], tmp_path: Path) -> None:
    def change(metrics: dict[str, Any]) -> None:
        metrics["classes"] = [f"class number {k}" for k in range(10_000)]
        for table in (metrics["splits"]["test"]["by_class"],):
            for key in table:
                table[key] = [1] * 10_000
        metrics["class_counts"] = [3] * 10_000

    text = card_of(altered(change), tmp_path)
    assert len(text) < 20_000
    assert "other classes" in text


@pytest.mark.parametrize(
    ("asked", "identifier"),
    [
        ("apache-2.0", "apache-2.0"),
        ("Apache 2.0", "apache-2.0"),
        ("MIT", "mit"),
        ("CC BY-NC 4.0", "cc-by-nc-4.0"),
        ("Acme Terms", "other"),
        (None, None),
    ],
)
def test_a_licence_is_known_by_the_hubs_name_or_told_in_its_owners_words(
    asked: str | None, identifier: str | None
) -> None:
    licence = choose_licence(asked, None, ())
    assert (licence.identifier, licence.name) == (identifier, asked)


def test_no_licence_is_made_up(distilled_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["card", str(distilled_run), "--output", str(tmp_path / "card.md")]) == 0
    shown = capsys.readouterr()
    assert "No licence is stated" in shown.err
    text = (tmp_path / "card.md").read_text()
    assert "license" not in yaml.safe_load(text.split("---")[1])
    assert "**Not stated.**" in text
    licence = ["--licence", "Acme Terms 2", "--licence-link", "https://acme.example/terms"]
    assert run_command_line(["card", str(distilled_run), "--output", str(tmp_path / "card.md"), *licence]) == 0
    head = yaml.safe_load((tmp_path / "card.md").read_text().split("---")[1])
    assert (head["license"], head["license_name"]) == ("other", "acme-terms-2")
    assert head["license_link"] == "https://acme.example/terms"
    assert "No licence" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("licence", "link", "told"),
    [
        ("  ", None, "is empty"),
        (None, "https://a.b", "not which"),
        ("x", "javascript:1", "must be an address on the web"),
    ],
)
def test_odd_licences_are_refused(licence: str | None, link: str | None, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        choose_licence(licence, link, ())


def config_of(student: str, teacher: str | None, *, pretrained: bool = True) -> Config:
    return Config.model_validate(
        {
            "data": {"path": "/somewhere/photos"},
            "student": {"name": student, "pretrained": pretrained},
            "teacher": None if teacher is None else {"source": teacher},
        }
    )


def test_published_weights_are_named_with_the_licence_that_timm_states() -> None:
    upstream = list_upstream(config_of("resnet18", "ensemble:convnextv2_tiny+hf:org/net?revision=v1"), None)
    assert upstream == (
        Upstream("student", "resnet18", "timm/resnet18.a1_in1k", "apache-2.0"),
        Upstream("teacher", "convnextv2_tiny", "timm/convnextv2_tiny.fcmae_ft_in22k_in1k", "cc-by-nc-4.0"),
        Upstream("teacher", "org/net", "org/net", None),
    )
    assert [weights.forbids_business for weights in upstream] == [False, True, False]
    assert choose_licence(None, None, upstream).identifier == "apache-2.0"
    assert "started from" in choose_licence(None, None, upstream).reason
    assert list_upstream(config_of("resnet18", "resnet50:/home/me/best.pth", pretrained=False), None) == ()
    # What the teacher's weights are under is no licence of the student.
    taught = list_upstream(config_of("cifar_resnet8", "resnet50", pretrained=False), None)
    assert choose_licence(None, None, taught).identifier is None


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("vit_base_patch16_224", "vit_base_patch16_224"),
        ("torchvision/resnet18", "torchvision/resnet18"),
        ("hf:org/name?revision=v1", "hf:org/name?revision=v1"),
        ("hf:/home/me/models/net", "hf:FOLDER"),
        ("/home/me/runs/teacher", "TEACHER"),
        ("teacher.onnx", "TEACHER"),
        ("../teacher", "TEACHER"),
        ("resnet18:secret.pth", "resnet18:CHECKPOINT"),
        ("clip:ViT-B-32:/home/me/clip.pt", "clip:ViT-B-32:CHECKPOINT"),
        ("clip:hf:/home/me/clip", "clip:FOLDER"),
        ("ensemble:resnet18+/home/me/runs/a", "ensemble:resnet18+TEACHER"),
    ],
)
def test_sources_are_named_without_places(source: str, shown: str) -> None:
    assert name_source(source) == shown


def test_models_that_are_called_by_a_file_are_named_by_its_kind() -> None:
    names = ("resnet18", "torchvision/resnet18", "custom", "/home/me/teacher.onnx", "C:\\me\\net.pt", "my_net")
    shown = ["resnet18", "torchvision/resnet18", "custom", "onnx file", "pt file", "my_net"]
    assert [name_model(name) for name in names] == shown


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/home/me/birds", "birds"),
        ("/home/me/birds/", "birds"),
        ("C:\\Users\\me\\birds", "birds"),
        ("/home/me/birds/labels.csv", "birds"),
        ("torchvision:CIFAR100", "CIFAR100"),
        ("hf:org/set@v1", "org/set"),
        ("s3:/bucket/birds/{00..10}.tar", "birds"),
    ],
)
def test_the_images_are_called_by_the_last_part_of_their_place(path: str, shown: str) -> None:
    assert name_data(path) == shown
    assert name_data(path, "Garden birds") == "Garden birds"


def test_the_snippets_of_a_pushed_card_run(
    timm_run: Path, clothes: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    dropkd.push_run(timm_run, "me/clothes")
    text = hub.files("me/clothes")["README.md"].decode()
    photo = next(iter(sorted((clothes / "test" / "trouser").iterdir())))
    shutil.copyfile(photo, tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(snippets) == 2
    capsys.readouterr()
    for snippet in snippets:
        exec(compile(snippet, "card", "exec"), {})  # noqa: S102
    by_timm, by_dropkd = (line.split() for line in capsys.readouterr().out.splitlines())
    (expected,) = dropkd.Run.open(timm_run).predict([photo])
    assert by_timm[0] == by_dropkd[0] == expected.label
    assert float(by_timm[1]) == pytest.approx(expected.probability, abs=1e-4)
    assert float(by_dropkd[1]) == pytest.approx(expected.probability, abs=1e-6)


def test_a_card_of_several_labels_speaks_of_labels(outfits: Path, tmp_path: Path) -> None:
    options = ["--model", "cifar_resnet8", "--epochs", "1", "--batch-size", "32", "--output", str(tmp_path / "run")]
    assert run_command_line(["train", str(outfits), *options]) == 0
    text = card_of(tmp_path / "run", tmp_path, data_name="Outfits")
    assert "An image goes in, any of these labels come out, perhaps none: ankle, body" in text
    assert "Mean average precision (mAP)" in text
    assert "It knows 5 labels and nothing else" in text
    assert "trained with dropkd on Outfits. mAP on the test images" in text
