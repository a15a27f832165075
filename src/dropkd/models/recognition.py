"""Which of dropkd's own networks a file of weights belongs to, where it does not fit the one that was named."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dropkd.models.fitting import align_tensors, count_classes
from dropkd.models.own import OwnLibrary

__all__ = ["recognise_network"]


# With so much in common a file is of the network that was named, and something is wrong with it.
_SAME_SHARE = 0.9


def recognise_network(tensors: Mapping[str, Tensor], *, in_place_of: nn.Module) -> str | None:
    """Return the name of the network of dropkd's own that has just these tensors, or None.

    Each is built without memory, which takes about a second for all of them.

    Args:
        tensors: of the file.
        in_place_of: the model that they do not fit; where they nearly do, none is looked for.

    Example:
        >>> from dropkd.models import create_model
        >>> tensors = create_model("cifar_wrn_16_1", num_classes=7).state_dict()
        >>> recognise_network(tensors, in_place_of=create_model("cifar_resnet8", num_classes=7))
        'cifar_wrn_16_1'
    """
    if _is_nearly(in_place_of, tensors):
        return None
    library = OwnLibrary()
    for name in library.names():
        defaults = library.defaults(name)
        with torch.device("meta"):
            model, _ = library.build(
                name, num_classes=defaults.num_classes, image_size=defaults.image_size, options={}, pretrained=False
            )
        own = {key: tensor.shape for key, tensor in model.state_dict().items()}
        aligned = {key: tensor.shape for key, tensor in align_tensors(model, tensors).items()}
        # Old files lack the counters of batch normalisation.
        needed = {key for key in own if not key.endswith("num_batches_tracked")}
        if needed <= aligned.keys() <= own.keys():
            different = [key for key in needed if own[key] != aligned[key]]
            # The classifier, one layer, may have another number of classes.
            if len(different) <= (0 if count_classes(model, tensors) == defaults.num_classes else 2):
                return name
    return None


def _is_nearly(model: nn.Module, tensors: Mapping[str, Tensor]) -> bool:
    own, aligned = model.state_dict(), align_tensors(model, tensors)
    shared = sum(key in aligned and aligned[key].shape == tensor.shape for key, tensor in own.items())
    return bool(shared >= _SAME_SHARE * max(len(own), len(aligned)))
