"""Language model heads that do more than multiply."""

from torch import nn
from torch.nn import functional as F


class NormalizedHead(nn.Linear):
    """x [..., H] -> [..., V], with each row of the weight scaled to length 1 (Baichuan 2's NormHead)."""

    def forward(self, x):
        return F.linear(x, F.normalize(self.weight), self.bias)
