from __future__ import annotations

import numpy as np

from dropkd.data import counters
from dropkd.data.noise import NOISE_VARIANCE, add_noise

GREY = np.full((200, 300, 3), 128, np.uint8)


def _words(index: int, count: int = 45_000) -> np.ndarray:
    return counters.words(counters.image_keys(counters.stream_key(1, 2), np.array([index]))[0], 22, count)


def test_noise_is_normal_with_variance_30_and_apart_in_every_pixel() -> None:
    noise = add_noise(GREY, _words(0)).astype(float) - 128
    assert abs(noise.mean()) < 0.05
    # Rounding to whole levels adds a twelfth.
    assert abs(noise.var() - NOISE_VARIANCE - 1 / 12) < 0.4
    assert abs((noise**4).mean() / noise.var() ** 2 - 3) < 0.1
    for shifted in (noise[1:, :, :] * noise[:-1, :, :], noise[:, 1:] * noise[:, :-1], noise[..., 1:] * noise[..., :-1]):
        assert abs(shifted.mean()) < 0.4


def test_noise_is_the_same_for_the_same_image_and_another_for_another() -> None:
    first, again, other = (add_noise(GREY, _words(i)) for i in (3, 3, 4))
    assert (first == again).all()
    assert 0.9 < (first != other).mean() < 0.97


def test_levels_are_cut_at_black_and_white() -> None:
    for level in (0, 255):
        noisy = add_noise(np.full((200, 300, 3), level, np.uint8), _words(1))
        assert abs((noisy == level).mean() - 0.5) < 0.06
        assert np.abs(noisy.astype(int) - level).max() < 30


def test_an_image_of_any_size_gets_its_own_noise() -> None:
    assert add_noise(GREY[:1, :1], _words(0, 1)).shape == (1, 1, 3)
    assert (
        add_noise(GREY[:, :7], _words(0)) == add_noise(GREY, _words(0)).reshape(-1)[: 200 * 21].reshape(200, 7, 3)
    ).all()
