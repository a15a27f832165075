"""A training view made again is the view that training saw."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from dropkd.data import ImageData, TrainLoader, open_data, recipe, render_view
from dropkd.errors import DataError

SIZE = (24, 20)
VIEWS = ("standard", "mirrored_own_erasing", "strong")


@pytest.fixture(scope="module", params=["small", "photos"])
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    """Small images are packed, photographs read from their files."""
    folder = tmp_path_factory.mktemp(request.param)
    for name, pixels in zip(("temple", "flower"), load_sample_images().images, strict=True):
        (folder / name).mkdir()
        for number in range(6):
            box = (40 * number, 20 * number, 40 * number + 200, 20 * number + 160 + number)
            part = Image.fromarray(pixels).crop(box)
            small = part.resize((32, 32)) if request.param == "small" else part
            small.save(folder / name / f"{number}.jpg", quality=95)
    return open_data(folder, seed=0)


@pytest.mark.parametrize("name", ["auto", "imagenet", "faces-scn", "trivial", "rand"])
def test_a_view_made_again_has_the_pixels_that_training_saw(name: str, data: ImageData) -> None:
    chosen = recipe(name, view_size=SIZE, native_size=data.native_size, erase_probability=0.5)
    loader = TrainLoader(data.train, size=SIZE, recipe=chosen, batch_size=5, seed=4, views=VIEWS)
    for epoch in (0, 3):
        for batch in loader.epoch(epoch):
            images = batch.images.permute(0, 2, 3, 1).numpy().reshape(len(VIEWS), -1, *SIZE, 3)
            for row, index in enumerate(batch.index[: images.shape[1]].tolist()):
                for view in range(len(VIEWS)):
                    again = render_view(
                        data.train, index, epoch=epoch, size=SIZE, recipe=chosen, seed=4, views=VIEWS, view=view
                    )
                    assert (again == images[view, row]).all()


def test_an_image_that_an_epoch_shows_again_has_another_view(data: ImageData) -> None:
    def render(repeat: int) -> np.ndarray:
        return render_view(data.train, 2, epoch=1, size=SIZE, recipe=recipe("trivial"), seed=0, repeat=repeat)

    assert (render(1) == render(1)).all()
    assert (render(1) != render(0)).any()


def test_an_image_that_is_not_there_is_refused(data: ImageData) -> None:
    with pytest.raises(DataError, match="the split 'train' has the images 0 to 7, not 8"):
        render_view(data.train, 8, epoch=0, size=SIZE, recipe=recipe("cifar"))


@pytest.mark.parametrize("data", ["photos"], indirect=True)
def test_workers_make_the_same_views(data: ImageData) -> None:
    one, two = (
        TrainLoader(data.train, size=SIZE, recipe=recipe("faces-eac"), batch_size=4, seed=0, workers=workers)
        for workers in (0, 2)
    )
    assert all((a.images == b.images).all() for a, b in zip(one.epoch(0), two.epoch(0), strict=True))
