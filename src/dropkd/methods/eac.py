"""Erasing attention consistency: an image and its mirror image are looked at alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from dropkd.contracts import Batch, Outputs, Pair, Shapes
from dropkd.errors import ModelError
from dropkd.functional.eac import class_activation_maps, flip_consistency_loss
from dropkd.methods.method import Method

__all__ = ["EAC", "Erasing"]

Erasing = Literal["tied", "independent"]

_MIRRORS: dict[Erasing, str] = {"tied": "mirrored", "independent": "mirrored_own_erasing"}


class EAC(Method):
    r"""The student's reasons for each class move along when an image is mirrored; without a teacher.

    A wrong label is learned by heart from a few places of an image, which differ in the mirror image. Asking for the
    same class activation maps in both, while random parts are erased, leaves less to memorise. Nothing in it is about
    faces, but it is not for classes that a mirror turns into each other, such as letters, digits or arrows.

    Equation:
        M_k(F) = \sum_c W_{kc} F_c
        L = \frac{1}{B K H W} \sum_i \lVert M(F_i) - \mathrm{flip}(M(F'_i)) \rVert_2^2

        F_i is the last map (C, H, W) of image i and F'_i that of its mirror image; W (K, C) is the weight of the
        classifier, which gets no gradient from this; flip turns a map left to right.

    Terms:
        consistency: squared difference of the class activation maps, averaged over images, classes and positions;
            weight 5, the authors', beside a cross-entropy of weight 1 on the image alone.

    Trains:
        nothing of its own: 0 parameters for a cifar_resnet20 at 32 px (there is no teacher).

    Args:
        pair: the shapes of the student.
        erasing: tied = the mirror image has the same part erased as the image, as in the authors' code for clean
            labels; independent = it has a part of its own erased and its colours left alone, as in their code for
            wrong labels.

    Note:
        The authors' code is two methods: the second view is the exact mirror image where labels are clean, and is
        erased apart where they are wrong. The default belongs to their numbers on clean RAF-DB.

        Nothing is erased unless the augmentation says so: ``data.augmentation: faces-eac`` is the authors' (half of the
        images lose a part), or set ``data.erase_probability``. Without it only the mirror is left of the method. A
        batch holds both views of each image, so a step costs two passes of the student; in a loop of your own join
        them, ``torch.cat([images, images.flip(3)])`` with ``target.repeat(2)``. Under mixup the mirror image of a
        mixture is mixed alike, under CutMix it is not.

        Activation maps want a map that is pooled into what the classifier sees. The mean of M over positions is then
        the logit without its bias: in ResNets, RegNets, DenseNets, torchvision's MobileNetV2 and the like. A network
        that widens its last map, as MobileNetV3 and VGG do after pooling, is refused; one that does so before
        pooling, as timm's MobileNetV2 and EfficientNet, needs ``student.map_modules: [bn2]``. In transformers and
        ConvNeXt a norm stands between, or a class token in place of the mean: the classifier's weight fits their last
        map and the term can be computed, but its maps are not exactly the reasons for the logits, and nothing was
        published for them. Maps of any grid do, 1 x 1 too, where the two views' scores are compared.

    References:
        Zhang, Wang, Ling, Deng, "Learn From All: Erasing Attention Consistency for Noisy Label Facial Expression
        Recognition", ECCV 2022. Zhou, Khosla, Lapedriza, Oliva, Torralba, "Learning Deep Features for Discriminative
        Localization", CVPR 2016 (class activation maps).

    Example:
        >>> import torch, dropkd
        >>> student = dropkd.models.build_network("cifar_resnet8", num_classes=10, image_size=(32, 32))
        >>> images, target = torch.rand(4, 3, 32, 32), torch.arange(4)
        >>> losses = dropkd.Distiller(student, None, "eac")(torch.cat([images, images.flip(3)]), target.repeat(2))
        >>> sorted(losses.raw)
        ['consistency', 'cross_entropy']
    """

    student_reads = frozenset({"maps", "classifier"})
    terms: ClassVar[Mapping[str, float]] = {"consistency": 5.0}
    views = ("standard", "mirrored")

    def __init__(self, pair: Pair, *, erasing: Erasing = "tied") -> None:
        super().__init__(pair)
        _check_map(pair.student)
        self.views = ("standard", _MIRRORS[erasing])

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the term ``consistency`` where it is active."""
        if "consistency" not in self.active:
            return {}
        first, second = (_find_reasons(view) for view in student.split(2))
        return {"consistency": flip_consistency_loss(first, second)}


def _find_reasons(view: Outputs) -> Tensor:
    if view.classifier is None:
        raise ModelError("EAC reads the weight of the student's classifier, but this answer holds none.")
    return class_activation_maps(view.maps[-1], view.classifier)


def _check_map(student: Shapes) -> None:
    """Raise ModelError unless the classifier's weight fits the last map."""
    if not student.maps:
        raise ModelError("EAC reads the student's last feature map, but there is none: name it by student.map_modules.")
    channels, height, width = student.maps[-1]
    if channels != student.embedding:
        raise ModelError(
            f"EAC multiplies the student's last map by the classifier's weight, but the map ({channels}, {height}, "
            f"{width}) has {channels} channels and the classifier sees {student.embedding} numbers: the network widens "
            "its map once more. Name the layer that is pooled into what the classifier sees by student.map_modules, "
            "as in [bn2] for MobileNetV2 and EfficientNet of timm; where there is none, as in MobileNetV3 and VGG, "
            "choose another student, such as a ResNet."
        )
