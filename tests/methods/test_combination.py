"""Several methods at once have the terms, options and views of each, and share one student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import dropkd
from dropkd.config import load_config
from dropkd.contracts import Batch, LabelChange, Outputs, Pair, Shapes
from dropkd.engine.distiller import Distiller
from dropkd.errors import ConfigError
from dropkd.methods import build_method, method_class, method_options
from dropkd.methods.combination import combine
from dropkd.methods.kd import KD
from dropkd.methods.method import Method
from dropkd.methods.options import spell_out_options
from dropkd.methods.registry import check_method_options
from dropkd.models import build_network
from dropkd.testing import check_method

NETWORK = Shapes(4, ((6, 4, 4), (8, 2, 2)), 8, has_classifier=True)
PAIR = Pair(NETWORK, NETWORK, 4, torch.arange(12) % 4)


def answer(rows: int, seed: int) -> Outputs:
    source = torch.Generator().manual_seed(seed)
    maps = tuple(torch.randn(rows, *shape, generator=source) for shape in NETWORK.maps)
    return Outputs(torch.randn(rows, 4, generator=source), maps, torch.randn(rows, 8, generator=source))


def labels(rows: int) -> Batch:
    return Batch(torch.arange(rows) % 4, torch.arange(rows))


class Seen(Method):
    """Says which rows it is shown."""

    student_reads = frozenset({"logits"})
    terms = {"sum": 1.0}  # noqa: RUF012
    views = ("standard", "strong")
    labelled_views = 2
    cross_entropy_weight = 0.2

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        self.rows = student.logits[:, 0].tolist()
        self.index = batch.index.tolist()
        return {"sum": student.logits.sum()} if self.active else {}


class Mirrored(Seen):
    """As above, with another second view that nothing labels."""

    views = ("standard", "mirrored")
    labelled_views = 1
    cross_entropy_weight = 1.0


class Twice(Seen):
    """As above, with two independent views of one kind."""

    views = ("standard", "standard")
    labelled_views = 1


class Renaming(Method):
    """Gives every image the class 3."""

    student_reads = frozenset({"logits"})
    cross_entropy_weight = 0.0
    warmup_epochs = 7.0
    terms = {"nothing": 1.0}  # noqa: RUF012

    def targets(self, batch: Batch) -> Tensor:
        return torch.full_like(batch.target, 3)

    def end_epoch(self, epoch: int) -> list[LabelChange]:
        return [LabelChange(epoch, 0, 3)]

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        return {"nothing": student.logits.sum()} if self.active else {}


def test_it_has_the_terms_of_each_under_its_name_with_the_weights_of_each() -> None:
    cls = method_class("kd+dropkd")
    assert cls.__name__ == "KD+DropKD"
    assert cls.terms == {
        "kd_logit": 1.0, "dropkd_logit": 1.0, "dropkd_feature": 2.0, "dropkd_reconstruct": 1.0, "dropkd_domain": 0.5,
    }  # fmt: skip
    assert cls.teacher_reads == {"logits", "maps"}
    assert cls.label_space_terms == {"kd_logit", "dropkd_logit"}


def test_each_term_is_what_its_method_gives_alone() -> None:
    options: dict[str, Any] = {"kd": {"temperature": 2.0}, "dropkd": {"feature_rate_student": 0.2, "width": 8}}
    student, teacher, batch = answer(5, 1), answer(5, 2), labels(5)
    torch.manual_seed(0)
    both = build_method("kd+dropkd", PAIR, options)
    torch.manual_seed(0)
    alone = {name: build_method(name, PAIR, options[name]) for name in ("kd", "dropkd")}
    torch.manual_seed(3)
    found = both(student, teacher, batch)
    torch.manual_seed(3)
    expected = {f"{n}_{t}": v for n, method in alone.items() for t, v in method(student, teacher, batch).items()}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_terms_are_switched_off_one_by_one_and_idle_parts_are_frozen() -> None:
    method = build_method("kd+dropkd", PAIR)
    method.restrict_terms(["kd_logit"])
    assert method(answer(3, 1), answer(3, 2), labels(3)).keys() == {"kd_logit"}
    assert not any(p.requires_grad for p in method.parameters())
    method.restrict_terms(["dropkd_feature"])
    assert method(answer(3, 1), answer(3, 2), labels(3)).keys() == {"dropkd_feature"}
    assert any(p.requires_grad for p in method.parameters())


@pytest.mark.parametrize(
    ("parts", "views", "labelled", "rows"),
    [
        ({"a": Seen, "b": Mirrored}, ("standard", "strong", "mirrored"), 2, {"a": [0, 1, 2, 3], "b": [0, 1, 4, 5]}),
        ({"b": Mirrored, "a": Seen}, ("standard", "strong", "mirrored"), 2, {"a": [0, 1, 2, 3], "b": [0, 1, 4, 5]}),
        ({"c": Twice, "b": Mirrored}, ("standard", "standard", "mirrored"), 1, {"c": [0, 1, 2, 3], "b": [0, 1, 4, 5]}),
        ({"c": Twice}, ("standard", "standard"), 1, {"c": [0, 1, 2, 3]}),
    ],
)
def test_each_method_sees_its_own_views_and_the_labelled_ones_come_first(
    parts: dict[str, type[Method]], views: tuple[str, ...], labelled: int, rows: dict[str, list[int]]
) -> None:
    cls = combine(parts)
    method: Any = cls(PAIR)
    assert (cls.views, cls.labelled_views) == (method.views, method.labelled_views) == (views, labelled)
    count = 2 * len(views)
    student = Outputs(torch.arange(float(count)).unsqueeze(1).expand(-1, 4), (), torch.zeros(count, 8))
    method(student, None, Batch(torch.zeros(count, dtype=torch.int64), torch.arange(count)))
    assert {name: method.methods[name].rows for name in parts} == rows
    assert {name: method.methods[name].index for name in parts} == rows


def test_a_method_with_one_view_sees_the_first_of_each_image() -> None:
    method: Any = combine({"kd": KD, "a": Seen})(PAIR)
    student, teacher, batch = answer(6, 1), answer(6, 2), labels(6)
    first = method.methods["kd"](student.split(2)[0], teacher.split(2)[0], batch.split(2)[0])["logit"]
    assert torch.equal(method(student, teacher, batch)["kd_logit"], first)


def test_the_cross_entropy_has_the_least_weight_and_the_labels_of_the_method_that_changes_them() -> None:
    cls = combine({"kd": KD, "new": Renaming})
    assert cls.cross_entropy_weight == 0.0
    assert combine({"kd": KD, "a": Seen}).cross_entropy_weight == 0.2
    method = cls(PAIR)
    assert method.targets(labels(5)).tolist() == [3] * 5
    assert method.end_epoch(2) == [LabelChange(2, 0, 3)]
    assert {term: method.warmup_of(term) for term in method.terms} == {"kd_logit": 0.0, "new_nothing": 7.0}


def test_it_needs_as_many_images_as_the_most_demanding_of_its_methods() -> None:
    assert combine({"kd": KD, "a": Seen})(PAIR).least_batch == 1
    deep = Shapes(4, ((6, 2, 2), (8, 1, 1)), 8)
    alone = build_method("ofakd", Pair(deep, deep, 4))
    assert build_method("kd+ofakd", Pair(deep, deep, 4)).least_batch == alone.least_batch == 2


def test_two_methods_that_change_the_labels_are_refused() -> None:
    with pytest.raises(ConfigError, match="a and b both change the labels"):
        combine({"a": Renaming, "b": Renaming})(PAIR)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("kd+kd", "names one method twice"),
        ("kd+dropdk", r"unknown method 'dropdk'. Did you mean 'dropkd'\?"),
        ("kd+", "unknown method ''"),
    ],
)
def test_a_wrong_combination_is_refused(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        method_class(name)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"temperature": 2.0},
            r"unknown key 'method.temperature' of kd\+dropkd. Did you mean 'method.kd.temperature' or "
            "'method.dropkd.temperature'",
        ),
        ({"kd": {"temprature": 2.0}}, r"unknown key 'method.kd.temprature' of kd. Did you mean 'temperature'\?"),
        ({"kd": 3}, "method.kd must be a group of options of kd, got 3"),
        ({"dropkd": {"width": 0}}, "method.dropkd.width must be a whole number, at least 1, got 0"),
        ({"drokd": {}}, r"unknown key 'method.drokd' of kd\+dropkd. Did you mean 'dropkd'\?"),
        ({"kd": {"width": 8}}, "unknown key 'method.kd.width' of kd. .*It is an option of .*dropkd"),
    ],
)
def test_wrong_options_are_refused_in_the_users_spelling(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_method_options("kd+dropkd", options)


def test_its_options_are_those_of_each_under_its_name_and_can_be_spelt_out() -> None:
    cls = method_class("kd+dropkd")
    listed = method_options(cls)
    assert listed["kd.temperature"].default == 4.0
    assert listed["dropkd.temperature"].default == 2.0
    spelt = spell_out_options(cls, {"kd": {"temperature": 3.0}})
    assert spelt["kd"] == {"temperature": 3.0, "standardize": False, "form": "auto"}
    assert spelt["dropkd"]["temperature"] == 2.0


@pytest.mark.parametrize("name", ["kd+dropkd", "plain+kd"])
def test_it_keeps_the_contract(name: str) -> None:
    check_method(method_class(name))


def test_a_distiller_takes_a_combination_by_name() -> None:
    teacher, student = (
        build_network(name, num_classes=3, image_size=(16, 16)) for name in ("cifar_resnet14", "cifar_resnet8")
    )
    distiller = Distiller(student, teacher, "kd+dropkd", weights={"dropkd_domain": 0.0})
    losses = distiller(torch.rand(4, 3, 16, 16), torch.arange(4) % 3)
    assert "dropkd_domain" not in losses.raw
    assert {"cross_entropy", "kd_logit", "dropkd_feature"} <= losses.raw.keys()


def test_a_run_of_a_combination_can_be_repeated_from_its_own_configuration(clothes: Path, tmp_path: Path) -> None:
    teacher = build_network("cct_2_3x2", num_classes=3, image_size=(28, 28))
    run = dropkd.distill(
        clothes,
        teacher=teacher,
        student="cifar_resnet8",
        method="kd+dropkd",
        output=tmp_path / "run",
        epochs=1,
        teacher_check="off",
        settings={"method.kd.temperature": 2.5, "method.weights.kd_logit": 0.5},
    )
    config = load_config(run.folder / "config.yaml")
    assert config.method.name == "kd+dropkd"
    assert config.method.options["kd"]["temperature"] == 2.5
    assert config.method.options["dropkd"]["width"] == 128
    assert config.method.weights["kd_logit"] == 0.5
    assert check_method_options("kd+dropkd", config.method.options)
