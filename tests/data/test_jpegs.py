"""Large JPEGs are decoded at a part of their size where nothing that is shown is lost by it, and only there."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_images

from dropkd.data import EvalLoader, ImageData, TrainLoader, load_image, open_data, recipe, render_view
from dropkd.data.augment import Augmentation
from dropkd.data.geometry import fit_frame, show_box
from dropkd.data.jpegs import EVALUATION_PIXELS, TRAINING_PIXELS, Jpeg, read_picture
from dropkd.errors import DataError

PHOTOS = [Image.fromarray(pixels) for pixels in load_sample_images().images]
ORIENTATION = 0x0112
# The mean difference of a view to that of the full decoding, of 255 levels: the most that was measured, and a little.
BOUNDS = {1: 5.5, 2: 1.7}
# Half of the views differ by less than this.
MIDDLES = {1: 2.8, 2: 1.1}
SIZE = (40, 48)


def encode(image: Image.Image, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


def open_jpeg(data: bytes, pixels: int = 1) -> Jpeg:
    jpeg = read_picture(lambda: data, "photo.jpg", pixels)
    assert isinstance(jpeg, Jpeg)
    return jpeg


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    """Photographs of two classes and odd sizes."""
    folder = tmp_path_factory.mktemp("photos")
    for name, photo in zip(("temple", "flower"), PHOTOS, strict=True):
        (folder / name).mkdir()
        for i in range(5):
            photo.crop((30 * i, 10 * i, 30 * i + 501, 10 * i + 375)).save(folder / name / f"{i}.jpg", quality=90)
    return open_data(folder, seed=0)


@pytest.mark.parametrize("pixels", [1, 2])
@pytest.mark.parametrize("width", [640, 1280, 2001])
@pytest.mark.parametrize("number", [0, 1])
def test_what_is_shown_of_a_scaled_photograph_is_what_the_full_one_shows(number: int, width: int, pixels: int) -> None:
    photo = PHOTOS[number] if width == 640 else PHOTOS[number].resize((width, width * 427 // 640))
    jpeg, random = open_jpeg(encode(photo), pixels), np.random.default_rng(0)
    scales, differences = set(), []
    for side in (0.9, 0.6, 0.3):
        wide, high = side * jpeg.width, side * jpeg.height
        left, top = random.uniform(0, jpeg.width - wide), random.uniform(0, jpeg.height - high)
        box = (left, top, left + wide, top + high)
        for scale in (2, 4, 8):
            # The most that this scale allows, but for rounding.
            size = (int((high - 1e-6) / scale / pixels), int((wide - 1e-6) / scale / pixels))
            assert jpeg.choose_scale(box, size) == scale
            shown = show_box(jpeg, box, size)
            differences.append(difference(shown, show_box(jpeg.decode(), box, size)))
            scales.add(jpeg.take(box, size)[0].width)
    assert max(differences) < BOUNDS[pixels]
    assert np.median(differences) < MIDDLES[pixels]
    assert scales == {-(-width // scale) for scale in (2, 4, 8)}


@settings(deadline=None, max_examples=200)
@given(
    native=st.tuples(st.integers(129, 1200), st.integers(1, 1200)),
    corners=st.tuples(*[st.floats(0, 1)] * 4),
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    pixels=st.sampled_from([1, 2]),
    turned=st.integers(1, 8),
)
def test_a_scale_never_leaves_fewer_pixels_than_the_view_needs_and_no_part_leaves_the_picture(
    native: tuple[int, int], corners: tuple[float, ...], size: tuple[int, int], pixels: int, turned: int
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = turned
    jpeg = open_jpeg(encode(Image.new("L", native), exif=exif), pixels)
    assert (jpeg.width, jpeg.height) == (native if turned < 5 else native[::-1])
    left, right = (edge * (jpeg.width - 1) for edge in sorted(corners[:2]))
    top, bottom = (edge * (jpeg.height - 1) for edge in sorted(corners[2:]))
    box = (left, top, right + 1, bottom + 1)
    scale = jpeg.choose_scale(box, size)
    remaining = min((box[2] - box[0]) / size[1], (box[3] - box[1]) / size[0])
    assert scale == 1 or remaining / scale >= pixels
    assert scale == 8 or remaining / (2 * scale) < pixels
    picture, part = jpeg.take(box, size)
    assert picture.size == (-(-jpeg.width // scale), -(-jpeg.height // scale))
    assert 0 <= part[0] < part[2] <= picture.width
    assert 0 <= part[1] < part[3] <= picture.height
    assert part[2] - part[0] == pytest.approx((box[2] - box[0]) / scale)


@pytest.mark.parametrize("turned", range(1, 9))
def test_a_turned_photograph_is_scaled_upright_and_in_place(turned: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = turned
    # One pixel more than a multiple of 8: the last scaled pixel stands for one instead of eight.
    jpeg = open_jpeg(encode(PHOTOS[0].resize((633, 425)), exif=exif))
    box = (0.0, 0.0, float(jpeg.width), float(jpeg.height))
    for scale in (2, 4, 8):
        size = (jpeg.height // scale, jpeg.width // scale)
        assert jpeg.choose_scale(box, size) == scale
        assert difference(show_box(jpeg, box, size), show_box(jpeg.decode(), box, size)) < BOUNDS[1]


@pytest.mark.parametrize(
    ("mode", "options"),
    [("L", {}), ("CMYK", {}), ("RGB", {"progressive": True}), ("RGB", {"subsampling": 0}), ("RGB", {"keep_rgb": True})],
)
def test_other_kinds_of_jpeg_are_scaled_alike(mode: str, options: dict[str, object], tmp_path: Path) -> None:
    content = encode(PHOTOS[1].convert(mode), **options)
    (tmp_path / "a.jpg").write_bytes(content)
    jpeg, whole = open_jpeg(content, 2), load_image(tmp_path / "a.jpg")
    assert jpeg.decode(4).mode == "RGB"
    assert jpeg.decode(4).size == (160, 107)
    assert difference(fit_frame(jpeg, (50, 50)), fit_frame(whole, (50, 50))) < BOUNDS[2]
    assert (np.asarray(jpeg.decode()) == np.asarray(whole)).all()


def test_a_part_that_would_be_enlarged_comes_of_the_full_photograph() -> None:
    jpeg = open_jpeg(encode(PHOTOS[0]))
    box = (100.0, 50.0, 499.0, 449.0 - 22)
    assert (show_box(jpeg, box, (200, 200)) == show_box(jpeg.decode(), box, (200, 200))).all()
    assert (fit_frame(jpeg, (427, 640)) == np.asarray(jpeg.decode())).all()


@pytest.mark.parametrize("side", [64, 128])
def test_a_small_jpeg_is_never_scaled(side: int) -> None:
    jpeg = open_jpeg(encode(PHOTOS[0].resize((side, side))))
    assert (fit_frame(jpeg, (8, 8)) == fit_frame(jpeg.decode(), (8, 8))).all()
    larger = open_jpeg(encode(PHOTOS[0].resize((side + 65, side))))
    assert larger.choose_scale((0, 0, 64, 64), (8, 8)) == 8


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp"])
def test_other_formats_are_decoded_as_ever(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    PHOTOS[0].save(path)
    picture = read_picture(path.read_bytes, str(path))
    assert isinstance(picture, Image.Image)
    assert (np.asarray(picture) == np.asarray(load_image(path))).all()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kept", [0.001, 0.5, 0.97])
def test_a_truncated_photograph_is_refused_in_the_words_of_the_full_decoding(
    kept: float, progressive: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.jpg"
    content = encode(PHOTOS[0], progressive=progressive)
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError) as full:
        load_image(path)
    with pytest.raises(DataError) as scaled:
        fit_frame(read_picture(path.read_bytes, str(path)), (32, 32))
    # How many bytes are left over differs.
    assert str(scaled.value).partition("(")[0] == str(full.value).partition("(")[0]
    assert str(path) in str(scaled.value)


def test_a_photograph_that_is_cut_off_later_ends_training_in_words(tmp_path: Path) -> None:
    for name, photo in zip("ab", PHOTOS, strict=True):
        (tmp_path / name).mkdir()
        for i in range(4):
            photo.save(tmp_path / name / f"{i}.jpg", quality=90 - i)
    opened = open_data(tmp_path, seed=0)
    for path in tmp_path.rglob("*.jpg"):
        path.write_bytes(path.read_bytes()[:9000])
    for loader in (
        EvalLoader(opened.train, size=SIZE, batch_size=4),
        TrainLoader(opened.train, size=SIZE, recipe=recipe("imagenet"), batch_size=4, seed=0).epoch(0),
    ):
        with pytest.raises(DataError, match=r"can't read the image .*\.jpg': image file is truncated"):
            next(iter(loader))


@pytest.mark.parametrize("name", ["imagenet", "crop-flip"])
def test_a_scaled_view_depends_on_nothing_that_is_made_beside_it(name: str, data: ImageData) -> None:
    kinds = ("standard", "strong", "mirrored")
    chosen = recipe(name, view_size=SIZE, native_size=data.native_size)
    loaders = [
        TrainLoader(data.train, size=SIZE, recipe=chosen, batch_size=size, seed=3, workers=workers, views=kinds)
        for size, workers in ((3, 0), (5, 2))
    ]
    made = []
    for loader in loaders:
        found = {}
        for batch in loader.epoch(1):
            images = batch.images.permute(0, 2, 3, 1).numpy().reshape(len(kinds), -1, *SIZE, 3)
            found |= {int(i): images[:, row] for row, i in enumerate(batch.index[: images.shape[1]])}
        made.append(found)
    for index, images in made[0].items():
        assert (images == made[1][index]).all()
        assert (images[0] == images[2][:, ::-1]).all()
        alone = render_view(data.train, index, epoch=1, size=SIZE, recipe=chosen, seed=3)
        assert (alone == images[0]).all()


@pytest.mark.parametrize("name", ["imagenet", "crop-flip"])
def test_training_shows_the_part_that_full_decoding_would_show(name: str, data: ImageData) -> None:
    chosen = recipe(name, view_size=SIZE, native_size=data.native_size)
    index = np.arange(len(data.train))
    whole = [load_image(path) for path in data.train.paths]
    expected = Augmentation(chosen, SIZE, 0, ("standard",)).render(whole, index, 0)[0]
    differences = []
    for i in index.tolist():
        view = render_view(data.train, i, epoch=0, size=SIZE, recipe=chosen)
        differences.append(difference(view, expected[i]))
    assert max(differences) < BOUNDS[TRAINING_PIXELS]
    assert np.median(differences) < MIDDLES[TRAINING_PIXELS]
    assert max(differences) > 0


def test_an_evaluation_frame_stays_closer_to_that_of_the_full_decoding(data: ImageData) -> None:
    frames = np.concatenate(
        [b.images.permute(0, 2, 3, 1).numpy() for b in EvalLoader(data.train, size=SIZE, batch_size=4)]
    )
    for frame, path in zip(frames, data.train.paths, strict=True):
        assert 0 < difference(frame, fit_frame(load_image(path), SIZE)) < BOUNDS[EVALUATION_PIXELS]


def test_noise_is_added_to_the_full_photograph(data: ImageData) -> None:
    chosen = recipe("faces-eac", erase_probability=0.0, noise_probability=1.0)
    index = np.arange(len(data.train))
    whole = [load_image(path) for path in data.train.paths]
    expected = Augmentation(chosen, SIZE, 0, ("standard",)).render(whole, index, 0)[0]
    for i in index.tolist():
        assert (render_view(data.train, i, epoch=0, size=SIZE, recipe=chosen) == expected[i]).all()
