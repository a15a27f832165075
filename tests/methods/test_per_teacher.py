"""A method once for each member of an ensemble."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import dropkd
from dropkd import Distiller
from dropkd.contracts import Outputs
from dropkd.errors import ConfigError, ModelError
from dropkd.methods.kd import KD
from dropkd.methods.per_teacher import per_teacher
from dropkd.methods.registry import load_methods
from dropkd.models import Network, build_network, ensemble

TEACHERS = {name: cls for name, cls in load_methods()[0].items() if cls.teacher_reads}


def build(name: str, size: int, seed: int) -> Network:
    torch.manual_seed(seed)
    return build_network(name, num_classes=3, image_size=size).eval()


@pytest.fixture(scope="module")
def teachers() -> list[Network]:
    """Two of unlike kinds, sizes and maps."""
    return [build("cifar_resnet14", 32, 1), build("cct_2_3x2", 28, 2)]


@pytest.fixture
def student() -> Network:
    return build("cifar_resnet8", 32, 0)


def make_batch(distiller: Distiller) -> tuple[Tensor, Tensor, Tensor]:
    views = len(distiller.method.views)
    rows = max(6, distiller.method.least_batch)
    images = torch.rand(views * rows, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    target, index = torch.arange(rows) % 3, torch.arange(rows)
    return images, target.repeat(views), index.repeat(views)


@pytest.mark.parametrize("name", TEACHERS)
def test_every_method_learns_from_each_teacher_as_from_that_teacher_alone(
    name: str, teachers: list[Network], student: Network
) -> None:
    targets = torch.arange(12) % 3
    torch.manual_seed(5)
    try:
        alone = [Distiller(student, teacher, name, targets=targets) for teacher in teachers]
    except ModelError as error:
        # A method that refuses one of the two says so for the pair of them as well.
        with pytest.raises(ModelError, match=str(error)[:20]):
            Distiller(student, teachers, name, targets=targets)
        return
    both = Distiller(student, teachers, name, targets=targets)
    terms = TEACHERS[name].terms
    assert both.method.terms == {f"{term}_{n}": terms[term] / 2 for n in (1, 2) for term in terms}
    # With the projectors and memories of the two alone, its terms are theirs.
    for method, single in zip(both.method.methods, alone, strict=True):
        method.load_state_dict(single.method.state_dict())
    found = []
    for distiller in (both, *alone):
        images, target, index = make_batch(distiller)
        distiller.eval()
        torch.manual_seed(9)
        found.append(distiller(images, target, index).raw)
    expected = {f"{t}_{n}": raw[t] for n, raw in enumerate(found[1:], 1) for t in raw if t != "cross_entropy"}
    assert set(found[0]) == {"cross_entropy", *expected}
    # Methods that draw random numbers draw them one after another.
    firsts = [term for term in expected if term.endswith("_1") or name in ("kd", "dkd", "fitnet", "reviewkd")]
    for term in firsts:
        torch.testing.assert_close(found[0][term], expected[term], msg=lambda text, term=term: f"{term}: {text}")


def test_gradients_reach_every_projector_and_no_teacher(teachers: list[Network], student: Network) -> None:
    distiller = Distiller(student, teachers, "fitnet")
    distiller(*make_batch(distiller)).loss.backward()
    assert len(distiller.method.methods) == 2
    assert all(parameter.grad is not None for parameter in distiller.method.parameters())
    widths = [teacher.shapes.maps for teacher in teachers]
    assert widths[0] != widths[1]
    assert all(parameter.grad is None for teacher in teachers for parameter in teacher.parameters())
    assert not any(key.startswith("_teacher") for key in distiller.state_dict())


def test_weights_and_warmups_are_given_by_the_terms_of_each(teachers: list[Network], student: Network) -> None:
    distiller = Distiller(student, teachers, "kd", weights={"logit_2": 3.0}, warmup_epochs={"logit_1": 4})
    losses = distiller(*make_batch(distiller))
    torch.testing.assert_close(losses.weighted["logit_2"], 3.0 * losses.raw["logit_2"])
    torch.testing.assert_close(losses.weighted["logit_1"], 0.5 / 4 * losses.raw["logit_1"])
    only = Distiller(student, teachers, "kd", weights={"logit_1": 0.0})
    assert set(only(*make_batch(only)).raw) == {"cross_entropy", "logit_2"}
    with pytest.raises(ConfigError, match=r"'method\.weights\.logit'.*Did you mean 'logit_[12]'\?"):
        Distiller(student, teachers, "kd", weights={"logit": 1.0})


def test_two_times_the_same_teacher_weigh_what_one_does(teachers: list[Network], student: Network) -> None:
    one = Distiller(student, teachers[0], "kd").eval()
    two = Distiller(student, [teachers[0], teachers[0]], "kd").eval()
    torch.testing.assert_close(two(*make_batch(two)).loss, one(*make_batch(one)).loss)


def test_an_ensemble_says_whether_its_members_are_learned_from_one_by_one(
    teachers: list[Network], student: Network
) -> None:
    assert set(Distiller(student, ensemble(teachers), "kd").method.terms) == {"logit"}
    each = Distiller(student, ensemble(teachers, each=True), "kd")
    assert set(each.method.terms) == {"logit_1", "logit_2"}
    answer = each.ask_teacher(torch.rand(4, 3, 32, 32))
    assert answer is not None
    shares = torch.stack([member.logits.softmax(1) for member in answer.members])
    torch.testing.assert_close(answer.logits.exp(), shares.mean(0))
    assert set(Distiller(student, teachers[:1], "kd").method.terms) == {"logit"}


def test_a_function_may_be_among_them_where_logits_are_enough(teachers: list[Network], student: Network) -> None:
    def colours(images: Tensor) -> Tensor:
        return images.mean((2, 3))

    distiller = Distiller(student, [teachers[0], colours], "kd")
    assert distiller(*make_batch(distiller)).loss.isfinite()
    with pytest.raises(ModelError, match=r"'colours' gives logits alone"):
        Distiller(student, [teachers[0], colours], "fitnet")


def test_combinations_and_their_options_are_built_for_each(teachers: list[Network], student: Network) -> None:
    distiller = Distiller(student, teachers, "kd+at", options={"kd": {"temperature": 2.0}})
    assert set(distiller.method.terms) == {"kd_logit_1", "at_attention_1", "kd_logit_2", "at_attention_2"}
    assert distiller(*make_batch(distiller)).loss.isfinite()
    assert [method.methods["kd"].temperature for method in distiller.method.methods] == [2.0, 2.0]


def test_methods_that_can_not_be_split_are_refused(teachers: list[Network], student: Network) -> None:
    with pytest.raises(ConfigError, match=r"Plain learns from no teacher, so teacher\.each gives it nothing to do"):
        Distiller(student, teachers, "plain")
    with pytest.raises(ConfigError, match=r"changes the labels, which it can't do for each teacher"):
        Distiller(student, teachers, "kd+scn", targets=torch.arange(9) % 3)
    built = KD(dropkd.contracts.Pair(student.shapes, teachers[0].shapes, 3))
    with pytest.raises(ConfigError, match=r"KD is built already, so it can't be built for each of 2 teachers"):
        Distiller(student, teachers, built)


def test_state_goes_round(teachers: list[Network], student: Network) -> None:
    one, other = (Distiller(student, teachers, "fitnet") for _ in range(2))
    other.load_state_dict(one.state_dict())
    batch = make_batch(one)
    assert torch.equal(one.eval()(*batch).loss, other.eval()(*batch).loss)


def test_answers_with_members_are_parted_and_joined_by_views() -> None:
    inner = Outputs(torch.rand(4, 3), (torch.rand(4, 2, 5, 5),), torch.rand(4, 7))
    outer = Outputs(torch.rand(4, 3), (), torch.rand(4, 2), members=(inner, inner))
    parts = outer.split(2)
    assert torch.equal(parts[1].members[0].maps[0], inner.maps[0][2:])
    joined = Outputs.join(parts)
    assert torch.equal(joined.members[1].embedding, inner.embedding)
    assert outer.apply(Tensor.double).members[0].logits.dtype == torch.float64


def test_terms_of_a_class_with_images_of_several_labels() -> None:
    cls = per_teacher(TEACHERS["dkd"], 2)
    assert cls.find_multi_label_terms() == {
        f"{t}_{n}" for t in TEACHERS["dkd"].find_multi_label_terms() for n in (1, 2)
    }
