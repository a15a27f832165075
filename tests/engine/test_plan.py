"""What a configuration leaves open."""

from __future__ import annotations

from collections.abc import Callable

from dropkd.config import Config
from dropkd.engine.observer import Observer
from dropkd.engine.plan import evaluation_frame, training_view
from dropkd.engine.setup import prepare_job


def test_a_view_has_the_larger_input_but_is_not_blown_up_for_the_teacher() -> None:
    assert training_view((224, 224), None, (500, 375)) == (224, 224)
    assert training_view((224, 224), (336, 336), (500, 375)) == (336, 336)
    assert training_view((28, 28), (224, 224), (28, 28)) == (28, 28)
    assert training_view((96, 96), (224, 224), (100, 120)) == (100, 100)


def test_a_student_that_asks_for_more_than_the_images_have_gets_it() -> None:
    assert training_view((64, 64), (224, 224), (28, 28)) == (64, 64)


def test_the_centre_crop_of_a_frame_has_the_networks_input_size() -> None:
    assert evaluation_frame((224, 224), 0.875) == (256, 256)
    assert evaluation_frame((28, 28), 1.0) == (28, 28)


def test_a_frame_for_the_teacher_stays_inside_the_images() -> None:
    assert evaluation_frame((224, 224), 0.9, native=(28, 40)) == (28, 28)
    assert evaluation_frame((224, 224), 0.875, native=(500, 375)) == (256, 256)


def test_images_are_shifted_by_an_eighth_of_the_view_unless_the_user_says_how_far(
    configure: Callable[..., Config],
) -> None:
    recipes = [prepare_job(configure("plain", data__crop_padding=n), Observer()).recipe for n in (None, 0, 2)]
    assert [recipe.crop_padding for recipe in recipes] == [4, 0, 2]
