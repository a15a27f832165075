from __future__ import annotations

import pytest
import torch

from dropkd.data.raf_db import BASIC_EMOTIONS, COMPOUND_EMOTIONS
from dropkd.errors import DataError
from dropkd.metrics import pair_compound_classes, score_compound


def test_the_classes_of_raf_db_are_pairs_of_its_basic_emotions() -> None:
    pairs = pair_compound_classes(BASIC_EMOTIONS, COMPOUND_EMOTIONS)
    assert [tuple(BASIC_EMOTIONS[k] for k in pair) for pair in pairs.tolist()] == [
        ("happiness", "surprise"),
        ("happiness", "disgust"),
        ("sadness", "fear"),
        ("sadness", "anger"),
        ("sadness", "surprise"),
        ("sadness", "disgust"),
        ("fear", "anger"),
        ("fear", "surprise"),
        ("anger", "surprise"),
        ("anger", "disgust"),
        ("disgust", "surprise"),
    ]


@pytest.mark.parametrize("name", ["Happily Surprised", "happily_surprised", "HappilySurprised", "happy + surprise"])
def test_names_are_understood_in_many_spellings(name: str) -> None:
    basic = ("Angry", "Contempt", "Happy", "something else", "Surprise")
    assert pair_compound_classes(basic, (name,)).tolist() == [[2, 4]]


@pytest.mark.parametrize("name", ["surprise", "happily happy", "sadly angrily afraid", "cat dog", "happily 7", ""])
def test_what_is_no_pair_of_emotions_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"is no pair of basic emotions, as 'Happily Surprised' is.*folder compound/"):
        pair_compound_classes(BASIC_EMOTIONS, (name,))


def test_a_student_that_lacks_an_emotion_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"'Sadly Fearful' holds fear, which is none of the student's classes: sad, 5\."
    ):
        pair_compound_classes(("sad", "5"), ("Sadly Fearful",))


def test_a_student_with_one_emotion_twice_is_refused() -> None:
    with pytest.raises(DataError, match="'happy' and 'joy' of the student's classes are the same emotion"):
        pair_compound_classes(("happy", "joy", "sad"), ("Happily Sad",))


def test_the_mean_over_classes_weighs_rare_classes_like_frequent_ones() -> None:
    scores = torch.eye(3)[[0, 0, 0, 2]] * 2 + torch.eye(3)[[1, 1, 1, 0]]
    figures = score_compound(scores, torch.tensor([0, 0, 0, 2]), torch.tensor([[0, 1], [0, 2], [1, 2]]))
    assert figures == {"acc_both": 0.75, "acc_single": 1.0, "acc_single_top2": 1.0, "uar_both": 0.5}
