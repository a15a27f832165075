"""Which training samples an image is told from: those of other classes, drawn by rank."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dropkd.errors import ConfigError

__all__ = ["Negatives"]

# Far above any number of samples, so that the remainder of a draw below it is as good as uniform.
_DRAWS = 2**62


class Negatives(nn.Module):
    """Draws, for each of a batch of training samples, others whose class is not its own.

    The samples are kept in the order of their classes, where those of other classes have ranks from 0 on. These are
    cut into as many stretches as negatives are wanted, one rank is drawn in each, and all are turned by a random step.
    So every sample of another class is equally likely, none is drawn twice, and each class comes close to its share.
    It takes one random number for each negative, however many samples there are.

    Args:
        targets: (N,) int64, the class of each training sample.
        wanted: negatives for each sample; where the data hold fewer, all they hold for any class.

    Raises:
        ConfigError: the samples are all of one class.
    """

    labels: Tensor
    order: Tensor
    starts: Tensor
    sizes: Tensor

    def __init__(self, targets: Tensor, wanted: int) -> None:
        super().__init__()
        sizes = torch.bincount(targets)
        self.count = min(wanted, len(targets) - int(sizes.max()))
        if self.count < 1:
            raise ConfigError(
                f"CRD tells each image from images of other classes, but all {len(targets)} training samples are of "
                "one class. Give it data of two classes or more."
            )
        # They follow from the data and need not be saved.
        self.register_buffer("labels", targets.clone(), persistent=False)
        self.register_buffer("order", targets.argsort(stable=True), persistent=False)
        self.register_buffer("starts", sizes.cumsum(0) - sizes, persistent=False)
        self.register_buffer("sizes", sizes, persistent=False)
        self._has_looked = False

    @torch.no_grad()
    def draw(self, index: Tensor) -> Tensor:
        """Return (B, count), the numbers of training samples of other classes.

        Args:
            index: (B,), the numbers of the samples.

        Raises:
            ConfigError: a number that no sample has.
        """
        # Looking into a tensor waits for the device: on a GPU only the first batch is looked at.
        if index.device.type == "cpu" or not self._has_looked:
            self._check_numbers(index)
            self._has_looked = True
        label = self.labels[index].unsqueeze(1)
        start, own = self.starts[label], self.sizes[label]
        others = len(self.labels) - own
        edges = torch.arange(self.count + 1, device=index.device) * others // self.count
        shares = torch.rand(len(index), self.count, device=index.device)
        ranks = edges[:, :-1] + (shares * edges.diff(dim=1)).long()
        ranks += torch.randint(_DRAWS, (len(index), 1), device=index.device) % others
        ranks -= others * (ranks >= others)
        ranks += own * (ranks >= start)  # its own class is jumped over
        return self.order[ranks]

    def _check_numbers(self, index: Tensor) -> None:
        if bool(((index < 0) | (index >= len(self.labels))).any()):
            raise ConfigError(
                f"the sample numbers go from {int(index.min())} to {int(index.max())}, but CRD was given the classes "
                f"of {len(self.labels)} training samples, numbered from 0. Pass the classes of all as targets=... and "
                "each image's number as index=... to the distiller."
            )
