"""The distiller in somebody's own training loop."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import dropkd
from dropkd.contracts import Batch, Outputs, Pair
from dropkd.engine.distiller import Distiller
from dropkd.errors import ConfigError, ModelError
from dropkd.methods import Method
from dropkd.models import Network, build_network

IMAGES, TARGET = torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])


def make(method: str = "kd", **settings: object) -> Distiller:
    torch.manual_seed(0)
    return Distiller("cifar_resnet8", teacher_of(4), method, num_classes=4, image_size=32, **settings)  # type: ignore[arg-type]


def teacher_of(classes: int) -> Network:
    return build_network("cifar_resnet8", num_classes=classes, image_size=(32, 32))


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    losses = make(weights={"logit": 3.0, "cross_entropy": 0.5})(IMAGES, TARGET)
    assert losses.loss.item() == pytest.approx(
        3 * losses.raw["logit"].item() + 0.5 * losses.raw["cross_entropy"].item()
    )


def test_a_term_of_weight_0_is_not_computed() -> None:
    losses = make("dropkd", weights={"logit": 0.0, "domain": 0.0})(IMAGES, TARGET)
    assert set(losses.raw) == {"cross_entropy", "feature", "reconstruct"}


def test_a_warm_up_scales_the_methods_terms_and_not_the_cross_entropy() -> None:
    distiller = make(warmup_epochs=4.0).eval()
    early, late = (distiller(IMAGES, TARGET, epoch=epoch) for epoch in (0, 7))
    assert early.weighted["logit"].item() == pytest.approx(0.25 * late.weighted["logit"].item())
    assert early.weighted["cross_entropy"].item() == late.weighted["cross_entropy"].item()


def test_the_teacher_is_not_trained_saved_or_moved_out_of_eval_mode() -> None:
    distiller = make("dropkd")
    assert distiller.teacher is not None
    before = {name: tensor.clone() for name, tensor in distiller.teacher.state_dict().items()}
    optimizer = torch.optim.SGD(distiller.parameters(), lr=1.0)
    distiller.train()
    distiller.teacher.train()
    distiller(IMAGES, TARGET).loss.backward()
    optimizer.step()
    assert not distiller.teacher.training
    assert all(torch.equal(before[name], tensor) for name, tensor in distiller.teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in distiller.teacher.parameters())
    held = {id(parameter) for parameter in distiller.parameters()}
    assert not any(id(parameter) in held for parameter in distiller.teacher.parameters())
    assert not any(name.startswith("_teacher") for name in distiller.state_dict())


def test_the_teacher_follows_to() -> None:
    distiller = make().to(torch.float64)
    assert distiller.teacher is not None
    assert next(distiller.teacher.parameters()).dtype == torch.float64


def test_a_known_answer_of_the_teacher_takes_the_place_of_asking_it() -> None:
    distiller = make().eval()
    answer = distiller.ask_teacher(IMAGES)
    assert answer is not None
    asked = distiller(IMAGES, TARGET)
    given = distiller(IMAGES, TARGET, teacher_outputs=answer)
    assert torch.equal(asked.loss, given.loss)


def test_every_trained_parameter_of_dropkd_changes_in_a_step() -> None:
    distiller = make("dropkd").train()
    trained = {name: p for name, p in distiller.named_parameters() if p.requires_grad}
    before = {name: parameter.detach().clone() for name, parameter in trained.items()}
    optimizer = torch.optim.AdamW(trained.values(), lr=0.1)
    for _ in range(2):
        distiller(IMAGES, TARGET).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert [name for name, parameter in trained.items() if torch.equal(parameter, before[name])] == []


def test_modules_of_ones_own_get_the_images_as_they_come() -> None:
    class Student(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Conv2d(3, 8, 3, stride=2), nn.Linear(8, 4)

        def forward(self, images: Tensor) -> Tensor:
            self.seen = images
            logits: Tensor = self.head(self.body(images).mean((2, 3)))
            return logits

    student = Student()
    distiller = dropkd.Distiller(student, teacher_of(4), "kd", image_size=32)
    distiller(IMAGES * 7 - 3, TARGET)
    assert torch.equal(student.seen, IMAGES * 7 - 3)


def test_a_method_without_the_teacher_it_needs_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"KD .*teacher"):
        Distiller("cifar_resnet8", None, "kd", num_classes=4, image_size=32)


def test_a_teacher_of_other_classes_is_refused_with_two_ways_out() -> None:
    teacher = teacher_of(9)
    with pytest.raises(ModelError, match=r"dropkd train .*method\.weights\.logit=0"):
        Distiller("cifar_resnet8", teacher, "dropkd", num_classes=4, image_size=32)
    distiller = Distiller("cifar_resnet8", teacher, "dropkd", num_classes=4, image_size=32, weights={"logit": 0})
    assert torch.isfinite(distiller(IMAGES, TARGET).loss)


def test_an_unknown_weight_is_refused_with_the_nearest_term() -> None:
    with pytest.raises(ConfigError, match=r"method\.weights\.logits.*Did you mean 'logit'"):
        make(weights={"logits": 1.0})


class TwoViews(Method):
    """Asks for a view and its mirror image; only the first is labelled."""

    student_reads = frozenset({"logits"})
    terms = {"consistency": 1.0}  # noqa: RUF012
    views = ("standard", "mirrored")

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        first, second = student.split(2)
        return {"consistency": (first.logits - second.logits).square().mean()}


def test_a_method_with_two_views_sees_both_and_the_cross_entropy_the_first() -> None:
    student = teacher_of(4)
    method = TwoViews(Pair(student.shapes, None, 4))
    distiller = Distiller(student, None, method).eval()
    images, target = torch.cat([IMAGES, IMAGES.flip(3)]), TARGET.repeat(2)
    losses = distiller(images, target)
    alone = student(IMAGES).logits
    assert losses.logits.shape == (4, 4)
    assert losses.raw["cross_entropy"].item() == pytest.approx(nn.functional.cross_entropy(alone, TARGET).item())
    assert losses.raw["consistency"].item() > 0


def test_each_view_has_batch_statistics_of_its_own() -> None:
    student = teacher_of(4)
    distiller = Distiller(student, None, TwoViews(Pair(student.shapes, None, 4))).train()
    alone = copy.deepcopy(student).train()
    losses = distiller(torch.cat([IMAGES, 1 - IMAGES]), TARGET.repeat(2))
    assert torch.equal(losses.logits, alone(IMAGES).logits)
