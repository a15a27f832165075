"""Class activation maps that agree between an image and its mirror image (Zhang and others)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dropkd.errors import ModelError
from dropkd.functional.checks import check_rank, check_same_shape
from dropkd.functional.precision import full_precision

__all__ = ["class_activation_maps", "flip_consistency_loss"]


@full_precision
def class_activation_maps(feature_map: Tensor, classifier_weight: Tensor) -> Tensor:
    """How much each position speaks for each class.

    Args:
        feature_map: (B, C, H, W), the last one before pooling.
        classifier_weight: (K, C); no gradient flows to it.

    Returns:
        (B, K, H, W), without bias, ReLU or normalisation.

    Raises:
        ModelError: shapes that do not fit each other.

    References:
        Zhou, Khosla, Lapedriza, Oliva, Torralba, "Learning Deep Features for Discriminative Localization",
        CVPR 2016.

    Example:
        >>> class_activation_maps(torch.ones(1, 2, 1, 1), torch.tensor([[1.0, 2.0]])).item()
        3.0
    """
    check_rank(feature_map, 4, "feature maps")
    if classifier_weight.ndim != 2 or classifier_weight.shape[1] != feature_map.shape[1]:
        raise ModelError(
            f"a classifier (K, C) must read the C channels of the map (B, C, H, W), "
            f"got {tuple(classifier_weight.shape)} and {tuple(feature_map.shape)}."
        )
    return torch.einsum("kc,bchw->bkhw", classifier_weight.detach(), feature_map)


@full_precision
def flip_consistency_loss(cam: Tensor, flipped_cam: Tensor) -> Tensor:
    """Mean squared difference between the maps of an image and the mirrored maps of its mirror image.

    Args:
        cam: (B, K, H, W), of the images.
        flipped_cam: (B, K, H, W), of their mirror images. Gradients flow to both.

    Returns:
        A scalar, averaged over all elements; the authors weigh it by 5.

    Raises:
        ModelError: the shapes differ.

    References:
        Zhang, Wang, Ling, Deng, "Learn From All: Erasing Attention Consistency for Noisy Label Facial
        Expression Recognition", ECCV 2022.

    Example:
        >>> cam = torch.tensor([1.0, 2.0, 3.0]).reshape(1, 1, 1, 3)
        >>> flip_consistency_loss(cam, cam.flip(3)).item()
        0.0
    """
    check_rank(cam, 4, "class activation maps")
    check_same_shape(cam, flipped_cam, "class activation maps")
    return F.mse_loss(cam, flipped_cam.flip(3))
