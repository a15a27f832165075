from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dropkd.errors import ConfigError
from dropkd.teacher_cache.encoding import Encoding, Part, decode_part, encode_part

SEEDS = st.integers(0, 2**31)


def roundtrip(part: Part, values: torch.Tensor, basis: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
    columns = encode_part(part, values, basis or {})
    assert {name: (tuple(c.shape[1:]), str(c.dtype).removeprefix("torch.")) for name, c in columns.items()} == dict(
        part.columns
    )
    assert sum(c.nbytes for c in columns.values()) == len(values) * part.bytes_per_image
    return decode_part(part, columns, basis or {})


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_half_precision_keeps_eleven_bits(seed: int) -> None:
    values = torch.randn(5, 7, generator=torch.Generator().manual_seed(seed)) * 30
    read = roundtrip(Part("logits", (7,)), values)
    torch.testing.assert_close(read, values, rtol=2**-11, atol=1e-6)
    assert torch.equal(roundtrip(Part("logits", (7,), Encoding("float32")), values), values)


@given(SEEDS, st.floats(1e-3, 1e3))
@settings(max_examples=20, deadline=None)
def test_eight_bits_are_off_by_half_a_level_of_the_channels_own_scale(seed: int, size: float) -> None:
    values = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(seed)) * size
    values[:, 1] *= 100
    read = roundtrip(Part("map0", (4, 5, 6), Encoding("int8")), values)
    level = values.abs().amax((2, 3), keepdim=True) / 127
    assert bool(((read - values).abs() <= level * 0.5001).all())


def test_a_map_of_zeros_comes_back_as_zeros() -> None:
    zeros = torch.zeros(2, 3, 4, 4)
    assert torch.equal(roundtrip(Part("map0", (3, 4, 4), Encoding("int8")), zeros), zeros)


def test_a_pooled_map_is_the_average_over_the_grids_cells() -> None:
    values = torch.arange(16.0).view(1, 1, 4, 4)
    read = roundtrip(Part("map0", (1, 4, 4), Encoding("float32", grid=(2, 2))), values)
    assert read.tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]


@given(SEEDS, st.integers(1, 9))
@settings(max_examples=20, deadline=None)
def test_the_largest_logits_keep_their_probabilities_and_the_others_share_the_rest(seed: int, top: int) -> None:
    logits = torch.randn(4, 9, generator=torch.Generator().manual_seed(seed)) * 4
    read = roundtrip(Part("logits", (9,), Encoding(top=top)), logits)
    shares, expected = read.softmax(1), logits.softmax(1)
    torch.testing.assert_close(shares.sum(1), torch.ones(4))
    best = expected.topk(top, dim=1).indices
    torch.testing.assert_close(shares.gather(1, best), expected.gather(1, best), rtol=1e-2, atol=1e-5)
    if top < 9:
        others = shares.scatter(1, best, 0)
        left = 1 - expected.gather(1, best).sum(1)
        torch.testing.assert_close(others.sum(1), left, rtol=2e-2, atol=1e-4)


def test_all_principal_components_lose_nothing_and_few_lose_the_least() -> None:
    torch.manual_seed(0)
    mixing = torch.randn(3, 6)
    values = torch.einsum("bkhw,kc->bchw", torch.randn(4, 3, 5, 5), mixing) + 2
    vectors = values.permute(0, 2, 3, 1).flatten(0, 2).double()
    mean = vectors.mean(0)
    axes = torch.linalg.eigh((vectors - mean).T @ (vectors - mean))[1].flip(1).T.float()

    def reduce_to(count: int) -> torch.Tensor:
        basis = {"map0.mean": mean.float(), "map0.components": axes[:count].contiguous()}
        return roundtrip(Part("map0", (6, 5, 5), Encoding("float32", channels=count)), values, basis)

    torch.testing.assert_close(reduce_to(3), values, rtol=1e-4, atol=1e-4)
    assert float((reduce_to(1) - values).square().mean()) > 0.1


def test_numbers_that_float16_does_not_hold_are_refused_and_what_helps_is_said() -> None:
    huge = torch.tensor([[1.0, 70_000.0]])
    with pytest.raises(ConfigError, match=r"logits holds 7e\+04, which float16 can't hold.*cache.number=float32"):
        encode_part(Part("logits", (2,)), huge, {})
    with pytest.raises(ConfigError, match="holds nan"):
        encode_part(Part("logits", (2,)), torch.tensor([[1.0, torch.nan]]), {})


def test_only_maps_can_be_pooled_reduced_or_kept_in_eight_bits() -> None:
    for encoding in (Encoding("int8"), Encoding(grid=(1, 1)), Encoding(channels=2)):
        with pytest.raises(ConfigError, match="embedding is no map"):
            Part("embedding", (8,), encoding)
    with pytest.raises(ConfigError, match="no largest logits"):
        Part("map0", (8, 2, 2), Encoding(top=3))


@pytest.mark.parametrize(
    "part",
    [
        Part("logits", (10,), Encoding(top=3)),
        Part("map2", (8, 4, 4), Encoding("int8", grid=(2, 2), channels=3)),
        Part("embedding", (8,), Encoding("float32")),
    ],
    ids=lambda part: part.name,
)
def test_a_part_is_the_same_after_being_written_down(part: Part) -> None:
    assert Part.from_dict(part.to_dict()) == part
