from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropkd.config import Config, MethodConfig, dump_config, load_config, update_config
from dropkd.config.yaml_text import parse_yaml, write_yaml
from dropkd.errors import ConfigError

LEAST = "data: images\nstudent: resnet18\n"


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("recipe.yaml")


def mistakes(*args: Any, **kwargs: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(*args, **kwargs)
    return str(caught.value).splitlines()


def test_data_and_student_are_enough(recipe: Path) -> None:
    recipe.write_text(LEAST)
    config = load_config(recipe)
    assert (config.data.path, config.student.name, config.method.name) == (
        Path("images"),
        "resnet18",
        "plain",
    )
    assert config.teacher is None
    assert config.training.epochs is None


def test_a_section_by_its_short_form_is_the_section_with_its_main_key(recipe: Path) -> None:
    recipe.write_text(LEAST + "teacher: runs/teacher\nmethod: kd\n")
    config = load_config(recipe, ["method.temperature=2"])
    assert config.teacher is not None
    assert config.teacher.source == "runs/teacher"
    assert (config.method.name, config.method.options) == ("kd", {"temperature": 2})


def test_flags_win_over_set_over_file_over_defaults(recipe: Path) -> None:
    recipe.write_text(LEAST + "seed: 2\nthreads: 2\ntraining: {epochs: 2}\n")
    config = load_config(
        recipe,
        ["training.epochs=3", "threads=3"],
        {"training.epochs": 4, "training.lr": None},
        defaults={"training.epochs": 1, "threads": 1, "seed": 1, "baseline": True},
    )
    assert (config.training.epochs, config.threads, config.seed, config.baseline) == (4, 3, 2, True)


def test_set_reads_its_value_as_yaml(recipe: Path) -> None:
    recipe.write_text(LEAST)
    config = load_config(
        recipe,
        [
            "data.image_size=[32, 48]",
            "student.options={patch_size: 4}",
            "training.lr=1e-3",
            "teacher_check=off",
        ],
    )
    assert config.data.image_size == (32, 48)
    assert config.student.options == {"patch_size": 4}
    assert config.training.lr == 0.001
    assert config.teacher_check == "off"


def test_a_later_group_adds_to_an_earlier_one(recipe: Path) -> None:
    recipe.write_text(LEAST + "training: {epochs: 3, lr: 0.1}\n")
    training = load_config(recipe, ["training={lr: 0.2}"]).training
    assert (training.epochs, training.lr) == (3, 0.2)


def test_what_is_dumped_loads_as_the_same(recipe: Path) -> None:
    recipe.write_text(
        LEAST + "teacher: {source: vit, map_modules: [a, b]}\nteacher_check: off\noutput: '1e3'\n"
        "method: {name: dropkd, weights: {logit: 2}, masks: coupled}\n"
        "training: {epochs: 3, lr: 1e-5, precision: 16, milestones: [1, 2]}\n"
        "data: {path: x}\n"
    )
    with pytest.raises(ConfigError, match=r"recipe.yaml: line 8: key 'data' stands twice \(first on line 1\)"):
        load_config(recipe)
    recipe.write_text(recipe.read_text().partition("data: {")[0])
    config = load_config(recipe)
    again = recipe.with_name("again.yaml")
    again.write_text(dump_config(config))
    assert load_config(again) == config
    assert config.output == Path("1e3")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_yaml_that_is_written_reads_back_as_the_same(tree: Any) -> None:
    assert parse_yaml(write_yaml(tree)) == tree


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("no", "no"),
        ("true", True),
        ("1e-3", 0.001),
        ("1.5E+2", 150.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("010", 10),
        ("1:30", "1:30"),
        ("2025-01-01", "2025-01-01"),
        ("", None),
        ("~", None),
        ("'3'", "3"),
    ],
)
def test_yaml_scalars_mean_what_they_look_like(text: str, value: Any) -> None:
    assert parse_yaml(f"key: {text}") == {"key": value}


def test_every_mistake_is_named_at_once_with_its_source(recipe: Path) -> None:
    recipe.write_text("data: images\nstudnt: resnet18\ntraining: {epochs: 0, mometum: 0.9}\nteacher_check: maybe\n")
    lines = mistakes(
        recipe,
        ["training.lr=0", "nonsense"],
        {"training.batch_size": 0, "seed": -1},
        spelling={"training.batch_size": "--batch-size", "student.name": "--student"},
    )
    assert sorted(lines) == sorted(
        [
            "--set nonsense: must look like training.epochs=3",
            "recipe.yaml: unknown key 'studnt'. Did you mean 'student'?",
            "--student is missing: the network to train",
            "recipe.yaml: 'training.epochs' must be at least 1, got 0",
            "recipe.yaml: unknown key 'training.mometum'. Did you mean 'momentum'?",
            "recipe.yaml: 'teacher_check' must be one of 'stop', 'warn', 'off', got 'maybe'",
            "--set training.lr=0: 'training.lr' must be above 0, got 0",
            "--batch-size: must be at least 1, got 0",
            "'seed' must be at least 0, got -1",
        ]
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs=2.5", "must be a whole number, got 2.5"),
        ("training.epochs='3'", "must be a whole number, got '3'"),
        ("training.epochs=true", "must be a whole number, got True"),
        ("training.lr=fast", "must be a number, got 'fast'"),
        ("training.lr=.nan", "must be a finite number, got nan"),
        ("training.optimizer=adma", "must be one of 'adamw', 'sgd', got 'adma'. Did you mean 'adamw'?"),
        ("training.precision=8", "must be one of 'auto', '32', 'bf16', '16', got '8'"),
        ("training.label_smoothing=1", "must be below 1, got 1"),
        ("training.ema_decay=1", "must be below 1, got 1"),
        ("training.nesterov=1", "must be true or false, got 1"),
        ("data.validation_fraction=-0.1", "must be at least 0, got -0.1"),
        ("data.validation_fraction=0.6", "must be at most 0.5, got 0.6"),
        ("data.image_size=[1, 2, 3]", "must be a whole number of pixels, or [height, width], got [1, 2, 3]"),
        (
            "data.image_size=0",
            "must be a whole number of pixels, or [height, width], between 1 and 4096, got 0",
        ),
        ("device=gpu", "must be auto, cpu, cuda or cuda:N, got 'gpu'"),
        ("seed=4294967296", "must be below 4.29497e+09, got 4294967296"),
        ("method.weights.logit=-1", "must be at least 0, got -1"),
        ("student.options=3", "must be a group of keys, got 3"),
        ("loggers=[tensorbord]", "got 'tensorbord'. Did you mean 'tensorboard'?"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_wanted_and_what_was_got(recipe: Path, override: str, message: str) -> None:
    recipe.write_text(LEAST)
    (line,) = mistakes(recipe, [override])
    assert line.startswith(f"--set {override}: '{override.partition('=')[0]}")
    assert line.endswith(message)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.schedule=step"], "'training.schedule' is 'step', which needs 'training.milestones'"),
        (
            ["training.schedule=exponential"],
            "'training.schedule' is 'exponential', which needs 'training.decay_factor'",
        ),
        (["data.crop_scale=[0.5, 2]"], "'data.crop_scale' must be [low, high] with 0 < low <= high <= 1, got [0.5, 2]"),
        (["data.crop_scale=0.5"], "'data.crop_scale' must be [low, high] with 0 < low <= high <= 1, got 0.5"),
        (["data.crop_ratio=[2, 1]"], "'data.crop_ratio' must be [low, high] with 0 < low <= high, got [2, 1]"),
        (["data.rand_magnitude=31"], "'data.rand_magnitude' must be at most 30, got 31"),
        (["training.final_lr=0.1", "training.lr=0.01"], "'training.final_lr' (0.1) is above 'training.lr' (0.01)"),
        (
            ["training.final_lr=0.1", "training.schedule=constant"],
            "'training.final_lr' is where a cosine ends, but 'training.schedule' is 'constant'",
        ),
        (["training.milestones=[3, 2]"], "'training.milestones' must grow, got [3, 2]"),
        (
            ["training.nesterov=true", "training.momentum=0"],
            "'training.nesterov' needs a 'training.momentum' above 0",
        ),
        (
            ["training.epochs=3", "training.warmup_epochs=4"],
            "'training.warmup_epochs' (4) is more than 'training.epochs' (3)",
        ),
    ],
)
def test_keys_that_do_not_go_together_are_named(recipe: Path, overrides: list[str], message: str) -> None:
    recipe.write_text(LEAST)
    (line,) = mistakes(recipe, overrides)
    assert message in line


def test_a_key_in_the_wrong_section_is_shown_its_place(recipe: Path) -> None:
    recipe.write_text(LEAST + "epochs: 3\n")
    assert mistakes(recipe) == ["recipe.yaml: unknown key 'epochs'. Did you mean 'training.epochs'?"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "recipe.yaml: must hold keys such as 'student: resnet18', got ['a']"),
        ("a: [1\n", "recipe.yaml: line 2: not valid YAML"),
        ("a: 1\na: 2\n", "recipe.yaml: line 2: key 'a' stands twice (first on line 1)"),
        (
            "a: !!python/object:os.system x\n",
            "recipe.yaml: line 1: not valid YAML: could not determine a constructor",
        ),
        ("? [a]\n: 1\n", "recipe.yaml: line 1: a key must be a word, got ['a']"),
    ],
)
def test_what_is_not_a_configuration_is_refused_with_the_line(recipe: Path, text: str, message: str) -> None:
    recipe.write_text(text)
    (line,) = mistakes(recipe)
    assert line.startswith(message)


def test_a_file_that_is_not_there_a_folder_and_bytes_are_told_apart(tmp_path: Path) -> None:
    assert "there is no such file" in mistakes(tmp_path / "none.yaml")[0]
    assert "this is a folder" in mistakes(tmp_path)[0]
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    assert "can't be read as text" in mistakes(tmp_path / "bytes.yaml")[0]


def test_the_methods_own_keys_are_checked_by_whom_knows_them_in_the_users_spelling(recipe: Path) -> None:
    recipe.write_text(LEAST + "method: {name: kd, temprature: 2}\nseed: -1\n")

    def check(method: MethodConfig, teacher: Mapping[str, Any]) -> None:
        raise ConfigError(
            "\n".join(f"unknown key 'method.{key}'. Did you mean 'temperature'?" for key in method.options)
        )

    assert mistakes(recipe, check_method=check) == [
        "recipe.yaml: unknown key 'method.temprature'. Did you mean 'temperature'?",
        "recipe.yaml: 'seed' must be at least 0, got -1",
    ]


def test_update_returns_a_checked_copy(recipe: Path) -> None:
    recipe.write_text(LEAST + "teacher: x\n")
    config = load_config(recipe)
    other = update_config(config, {"training.epochs": 5, "teacher": None})
    assert (other.training.epochs, other.teacher) == (5, None)
    assert config.training.epochs is None
    with pytest.raises(ConfigError, match=r"'training\.epochs' must be at least 1, got 0"):
        update_config(config, {"training.epochs": 0})


def test_a_configuration_can_not_be_changed_in_place() -> None:
    config = Config.model_validate({"data": {"path": "x"}, "student": {"name": "y"}})
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3


@pytest.mark.parametrize(
    ("written", "nearest"), [("imagnet", "imagenet"), ("TRIVIALAUGMNT", "trivial"), ("faces-snc", "faces-scn")]
)
def test_an_unknown_augmentation_is_named_with_the_nearest_one(recipe: Path, written: str, nearest: str) -> None:
    recipe.write_text(LEAST)
    (line,) = mistakes(recipe, flags={"data.augmentation": written}, spelling={"data.augmentation": "--augmentation"})
    assert line.startswith("--augmentation: must be one of 'auto', 'none', ")
    assert line.endswith(f"got {written!r}. Did you mean {nearest!r}?")


def test_an_augmentation_may_be_spelled_as_its_paper_spells_it(recipe: Path) -> None:
    recipe.write_text(LEAST + "training: {epochs: 1}\n")
    for written, name in (("faces-as-SCN", "faces-scn"), ("RandAugment", "rand"), ("CIFAR", "cifar")):
        config = load_config(recipe, [f"data.augmentation={written}"])
        assert config.data.augmentation == name
        assert load_config(recipe, [f"data.augmentation={config.data.augmentation}"]) == config
