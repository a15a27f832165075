"""Every number of the paper's tables has a recipe that resolves to the right models, data, method and training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import build_paper_page as page
from dropkd.cli.options import assemble_config
from dropkd.config import Config, load_config
from dropkd.metrics.cost import measure_cost
from dropkd.models.names import find_library

ENTRIES = page.list_entries()
RECIPES = [pytest.param(entry, id=entry.recipe.relative_to(page.RECIPES).as_posix()) for entry in ENTRIES]
SHARED = load_config(page.SHARED)

# What the tables call a network, what it is here, its classes, and its parameters in thousands (docs/models.md and
# the public benchmarks of CIFAR-100).
NETWORKS = {
    "resnet20": ("cifar_resnet20", 100, 278),
    "resnet56": ("cifar_resnet56", 100, 862),
    "ResNet101": ("cifar_resnet110", 100, 1737),
    "MobileViTV2": ("mobilevitv2_100", 7, 4392),
    "ViT-L/14": ("vit_large_patch14_clip_quickgelu_224.openai", 7, 303_200),
    "ResNet50": ("resnet50.tv_in1k", 7, 23_520),
    "ResNet18": ("resnet18.tv_in1k", 7, 11_180),
    "MobileNetV2": ("mobilenetv2_100", 7, 2233),
}
# Of the tables that have a model a row: network, method, teacher.
MODELS = {
    "ResNet50": ("ResNet50", "plain", None),
    "ResNet18": ("ResNet18", "plain", None),
    "SCN (ResNet18)": ("ResNet18", "scn", None),
    "EAC (ResNet18)": ("ResNet18", "eac", None),
    "MobileNetV2": ("MobileNetV2", "plain", None),
    "MobileNetV2 + KD": ("MobileNetV2", "kd", "ViT-L/14"),
    "ResNet18 + DropKD": ("ResNet18", "dropkd", "ViT-L/14"),
    "MobileNetV2 + DropKD": ("MobileNetV2", "dropkd", "ViT-L/14"),
}


def expect(entry: page.Entry) -> tuple[str, str, str | None]:
    """Return what the paper says that a number is of: the network, the method, the teacher."""
    if not entry.row:
        return MODELS[entry.column]
    teacher, student = entry.row.split(" → ")
    if entry.column in ("teacher", "student"):
        return (teacher if entry.column == "teacher" else student), "plain", None
    return student, entry.column.lower(), teacher


def student_of(config: Config) -> str:
    return find_library(config.student.name)[2]


def test_every_number_has_a_recipe_and_every_recipe_a_number() -> None:
    printed = [
        value
        for name, table in page.TABLES.items()
        if name != "source"
        for row in table["rows"]
        for value in row.values()
        if isinstance(value, float)
    ]
    assert sorted(number for entry in ENTRIES for number in entry.published) == sorted(printed)
    files = {path for path in page.RECIPES.rglob("*.yaml") if path != page.SHARED}
    assert sorted(entry.recipe for entry in ENTRIES) == sorted(files)


def test_the_printed_numbers_are_the_papers() -> None:
    published = {(entry.table, entry.row, entry.column): entry.published for entry in ENTRIES}
    assert published["table1", "ResNet101 → resnet20", "DropKD"] == (71.99,)
    assert published["table2", "ViT-L/14 → MobileViTV2", "teacher"] == (90.42,)
    assert published["table4", "", "MobileNetV2 + DropKD"] == (89.18,)
    assert published["table5", "", "MobileNetV2 + DropKD"] == (36.49, 76.01, 91.54)
    assert len(ENTRIES) == 36
    assert not any(entry.row.startswith("ResNet101") and entry.column in ("DKD", "ReviewKD") for entry in ENTRIES)


@pytest.mark.parametrize("entry", RECIPES)
def test_a_recipe_is_of_the_network_the_method_and_the_teacher_of_its_number(entry: page.Entry) -> None:
    config = assemble_config({"config": entry.recipe})
    network, method, teacher = expect(entry)
    assert (student_of(config), config.method.name) == (NETWORKS[network][0], method)
    if teacher is None:
        assert config.teacher is None
    else:
        made_by = page.RECIPES / Path(config.teacher.source).relative_to("runs/paper").with_suffix(".yaml")
        assert student_of(load_config(made_by)) == NETWORKS[teacher][0]
        assert load_config(made_by).output == Path(config.teacher.source)


@pytest.mark.parametrize("entry", RECIPES)
def test_a_recipe_says_the_number_that_it_is_for(entry: page.Entry) -> None:
    head = entry.recipe.read_text(encoding="utf-8").partition("extends:")[0]
    assert head.startswith(f"# Table {entry.table[-1]}, ")
    assert all(f"{number:.2f}" in head or f" {number} %" in head for number in entry.published)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_has_the_parameters_that_are_published_of_it(network: str) -> None:
    name, classes, thousands = NETWORKS[network]
    size = 32 if name.startswith("cifar_") else 224
    assert measure_cost(name, size, num_classes=classes).parameters / 1000 == pytest.approx(thousands, rel=2e-3)


@pytest.mark.parametrize("entry", RECIPES)
def test_a_row_of_cifar_is_trained_as_the_benchmarks_do_and_a_row_of_faces_as_all_of_them(entry: page.Entry) -> None:
    config, training = entry.config, entry.config.training
    if entry.table == "table1":
        assert str(config.data.path) == "torchvision:CIFAR100"
        assert not config.student.pretrained
        assert (training.epochs, training.batch_size, training.optimizer) == (240, 64, "sgd")
        assert (training.lr, training.momentum, training.weight_decay, training.nesterov) == (0.05, 0.9, 5e-4, False)
        assert (training.schedule, training.milestones, training.decay_factor) == ("step", [150, 180, 210], 0.1)
    elif config.method.name in ("scn", "eac"):
        # They bring the training of their authors' code.
        own = load_config(page.ROOT / "recipes" / "methods" / f"{config.method.name}.yaml")
        assert config.data == own.data
        assert training.model_copy(update={"lr": own.training.lr}) == own.training
    else:
        assert config.data == SHARED.data
        assert config.student.pretrained
        if entry.source.relative_to(page.RECIPES).as_posix() != "table2/teacher.yaml":
            assert training == SHARED.training


@pytest.mark.parametrize("entry", RECIPES)
def test_a_method_has_the_settings_of_its_own_recipe(entry: page.Entry) -> None:
    name = entry.config.method.name
    own = load_config(page.ROOT / "recipes" / "methods" / f"{name}.yaml").method
    if name != "plain":
        assert entry.config.method == own
    if name == "dropkd":
        rates = [entry.config.method.options[f"{kind}_rate_{of}"] for kind in ("feature", "logit")
                 for of in ("teacher", "student")]  # fmt: skip
        assert rates == [0.5] * 4


@pytest.mark.parametrize("entry", RECIPES)
def test_a_run_is_where_its_recipe_is_and_two_tables_share_what_they_both_print(entry: page.Entry) -> None:
    twin = entry.source
    assert twin.is_file()
    assert load_config(twin) == entry.config
    if twin != entry.recipe:
        assert "It is one run." in entry.recipe.read_text() or "the run of Table 4." in entry.recipe.read_text()


@pytest.mark.parametrize("entry", RECIPES)
def test_what_is_stated_and_what_is_decided_here_is_said_of_every_recipe(entry: page.Entry) -> None:
    kinds = {kind for kind, _ in page.list_remarks(entry.recipe)}
    assert kinds == set(page.REMARKS)


def test_commands_come_after_those_of_their_teachers() -> None:
    text = page.build_page()
    for block in text.split("```sh\n")[1:]:
        commands = block.partition("```")[0].splitlines()
        made: list[str] = []
        for command in (line.partition("    #")[0] for line in commands if " --config " in line):
            config = load_config(page.ROOT / command.split()[-1])
            assert config.teacher is None or config.teacher.source in made
            made.append(str(config.output))
            assert command.split()[1] == ("train" if config.method.name == "plain" else "distill")


def test_the_page_is_what_the_recipes_and_the_tables_say_now() -> None:
    assert page.build_page() == page.PAGE.read_text(encoding="utf-8"), "run python docs/build_paper_page.py"


def test_the_tables_are_data_of_the_paper_alone() -> None:
    tables = json.loads((page.RECIPES / "tables.json").read_text(encoding="utf-8"))
    assert list(tables) == ["source", "table1", "table2", "table3", "table4", "table5"]
    assert "WACV 2025" in tables["source"]
