"""Many networks as one thing to train: flat parameters, one forward pass, one loss per network.

All networks of a population see the same batches (common random numbers).  The loss that is
differentiated is the sum of the networks' own losses, so every network gets exactly its own gradient; Adam works value by
value; nothing couples one network to another, and NaN in one stays there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Population(ABC):
    """``size`` networks with their parameters in one flat buffer.

    ``parameters`` is a leaf tensor, ``(all parameters,)``, with its gradients in ``parameters.grad`` after a backward
    pass; ``owners(i)`` are the places of network i in it.
    """

    size: int
    parameters: Float[Tensor, " parameters"]
    training: bool = True

    @abstractmethod
    def forward(
        self, images: Float[Tensor, "batch channels side side"]
    ) -> Float[Tensor, "networks batch classes"]:
        """Return the logits of all networks; in training, batch statistics are used and the running ones updated."""

    @abstractmethod
    def owners(self, network: int) -> list[slice]:
        """Return where the parameters of a network lie in the flat buffer."""

    @abstractmethod
    def module(self, network: int) -> nn.Module:
        """Return a network as a plain module of its own, with the current weights and running statistics."""

    @abstractmethod
    def set_momentum(self, momentum: float) -> None:
        """Set the weight of a batch in the running statistics of BN (in the sense of torch)."""

    @abstractmethod
    def zero_grad(self) -> None:
        """Forget the gradients."""

    @property
    @abstractmethod
    def kernels(self) -> str:
        """What the networks run on, in words."""

    def settle(self) -> None:  # noqa: B027 (most have nothing to finish)
        """Finish what could not be done while a CUDA graph of a step was recorded; called before its first replay."""

    def train(self, mode: bool = True) -> None:
        """Use batch statistics in BN (or, ``False``, running ones)."""
        self.training = mode

    def eval(self) -> None:
        """Use running statistics in BN."""
        self.train(False)

    def __len__(self) -> int:
        return self.size

    def __call__(
        self, images: Float[Tensor, "batch channels side side"]
    ) -> Float[Tensor, "networks batch classes"]:
        """Return :meth:`forward` of the images."""
        return self.forward(images)


class Singles(Population):
    """Any plain modules, run one after another: the reference, and the fall-back of spaces without a program."""

    def __init__(self, modules: Sequence[nn.Module], *, device: torch.device | str = "cpu") -> None:
        self._modules = nn.ModuleList(modules).to(device)
        self.size = len(modules)
        counts = [sum(p.numel() for p in module.parameters()) for module in modules]
        self.parameters = torch.zeros(sum(counts), device=device, requires_grad=True)
        self.parameters.grad = torch.zeros_like(self.parameters)
        self._starts = [0, *torch.tensor(counts).cumsum(0).tolist()]
        at = 0
        for parameter in self._modules.parameters():
            place = slice(at, at + parameter.numel())
            view = self.parameters.detach()[place].view(parameter.shape)
            view.copy_(parameter.detach())
            parameter.data = view
            parameter.grad = self.parameters.grad[place].view(parameter.shape)
            at = place.stop

    @property
    def kernels(self) -> str:
        """What the networks run on, in words."""
        return "one at a time, eager torch"

    def forward(
        self, images: Float[Tensor, "batch channels side side"]
    ) -> Float[Tensor, "networks batch classes"]:
        """Return the logits of all networks."""
        self._modules.train(self.training)
        return torch.stack([module(images) for module in self._modules])

    def owners(self, network: int) -> list[slice]:
        """Return where the parameters of a network lie in the flat buffer."""
        return [slice(self._starts[network], self._starts[network + 1])]

    def module(self, network: int) -> nn.Module:
        """Return a network as it is (not a copy)."""
        return self._modules[network]

    def set_momentum(self, momentum: float) -> None:
        """Set the momentum of every BN."""
        for layer in self._modules.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.momentum = momentum

    def zero_grad(self) -> None:
        """Set the gradients to zero: the modules' own are views of the flat buffer."""
        assert self.parameters.grad is not None
        self.parameters.grad.zero_()


def losses(
    logits: Float[Tensor, "networks batch classes"], targets: Float[Tensor, "batch classes"]
) -> Float[Tensor, " networks"]:
    """Return each network's mean cross-entropy with target probabilities (label smoothing and mixup are in them)."""
    return -(targets * F.log_softmax(logits, dim=-1)).sum(-1).mean(-1)
