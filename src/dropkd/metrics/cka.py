"""How alike two networks' features are, whatever their widths: centred kernel alignment."""

from __future__ import annotations

from torch import Tensor

from dropkd.errors import ConfigError, ModelError

__all__ = ["LEAST_IMAGES", "centre_without_diagonal", "hsic1", "linear_cka", "rbf_cka"]

# The unbiased estimate divides by n - 3.
LEAST_IMAGES = 4


def hsic1(x: Tensor, y: Tensor) -> Tensor:
    """Unbiased Hilbert-Schmidt independence criterion of two feature sets, with linear kernels.

    Args:
        x: (n, ...), features of n images, which are flattened; at least four images.
        y: (n, ...), features of the same images, of any other size.

    Returns:
        A scalar of the type of ``x``; it may be negative, but for equal arguments it is not. It is computed
        in float64.

    Raises:
        ModelError: other numbers of rows.
        ConfigError: fewer than four images.

    References:
        Song, Smola, Gretton, Bedo, Borgwardt, "Feature Selection via Dependence Maximization", JMLR 2012;
        Nguyen, Raghu, Kornblith, "Do Wide and Deep Networks Learn the Same Things?", ICLR 2021.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0], [0.0], [1.0], [0.0]])
        >>> round(hsic1(x, x).item(), 4)
        0.1667
    """
    _check_features(x, y)
    _check_count(x)
    return _multiply_centred(x, y).to(x.dtype)


def linear_cka(x: Tensor, y: Tensor, unbiased: bool = False) -> Tensor:
    """Centred kernel alignment of all images at once, with linear kernels.

    Args:
        x: (n, ...), features of n images, which are flattened.
        y: (n, ...), features of the same images.
        unbiased: estimate the criteria without bias (see :func:`hsic1`); the biased form is far too high
            where there are fewer images than features.

    Returns:
        A scalar of the type of ``x``.

    References:
        Kornblith, Norouzi, Lee, Hinton, "Similarity of Neural Network Representations Revisited", ICML 2019.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> round(linear_cka(x, 3 * x.flip(1)).item(), 4)
        1.0
    """
    _check_features(x, y)
    if unbiased:
        _check_count(x)
        return _align(_multiply_centred(x, y), _multiply_centred(x, x), _multiply_centred(y, y)).to(x.dtype)
    return _align_kernels(_multiply(x), _multiply(y)).to(x.dtype)


def rbf_cka(x: Tensor, y: Tensor, threshold: float = 1.0) -> Tensor:
    """Centred kernel alignment of all images at once, with Gaussian kernels.

    Args:
        x: (n, ...), features of n images, which are flattened.
        y: (n, ...), features of the same images.
        threshold: width of the kernels as a multiple of the median distance between images.

    Returns:
        A scalar of the type of ``x``.

    References:
        Kornblith, Norouzi, Lee, Hinton, "Similarity of Neural Network Representations Revisited", ICML 2019.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> round(rbf_cka(x, 3 * x.flip(1), threshold=0.5).item(), 4)
        1.0
    """
    _check_features(x, y)

    def measure(features: Tensor) -> Tensor:
        products = _multiply(features)
        squares = products.diagonal()
        distances = squares.unsqueeze(0) + squares.unsqueeze(1) - 2 * products
        return (-distances / (2 * threshold**2 * distances.quantile(0.5))).exp()

    return _align_kernels(measure(x), measure(y)).to(x.dtype)


def _multiply(features: Tensor) -> Tensor:
    rows = features.flatten(1).double()
    return rows @ rows.T


def _multiply_centred(x: Tensor, y: Tensor) -> Tensor:
    first, second = (centre_without_diagonal(_multiply(features)) for features in (x, y))
    return (first * second).sum() / (len(x) * (len(x) - 3))


def centre_without_diagonal(kernel: Tensor) -> Tensor:
    """Centre a kernel so that its product with another, off the diagonal, is the unbiased criterion."""
    count = len(kernel)
    off = kernel - kernel.diagonal().diag()
    means = off.sum(dim=0) / (count - 2)
    means = means - means.sum() / (2 * (count - 1))
    centred = off - means.unsqueeze(0) - means.unsqueeze(1)
    return centred - centred.diagonal().diag()


def _align_kernels(first: Tensor, second: Tensor) -> Tensor:
    first, second = (k - k.mean(dim=0) - k.mean(dim=1, keepdim=True) + k.mean() for k in (first, second))
    return _align((first * second).sum(), first.square().sum(), second.square().sum())


def _align(xy: Tensor, xx: Tensor, yy: Tensor) -> Tensor:
    return xy / (xx.sqrt() * yy.sqrt())


def _check_features(x: Tensor, y: Tensor) -> None:
    if min(x.ndim, y.ndim) < 2 or x.shape[0] != y.shape[0]:
        raise ModelError(f"features must be (n, ...) of the same n images, got {tuple(x.shape)} and {tuple(y.shape)}.")


def _check_count(x: Tensor) -> None:
    if len(x) < LEAST_IMAGES:
        raise ConfigError(f"CKA needs at least {LEAST_IMAGES} images in a batch, got {len(x)}. Raise the batch size.")
