r"""Any objective of two terms, :math:`A + \lambda B`, as what training and curves ask for."""

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from multirate.errors import UsageError
from multirate.terms import Terms


class TwoTerms(nn.Module):
    r"""A network with two losses, A and B, in the place of a VAE with a distortion and a rate.

    Converted over a range of weights it is one network for every objective :math:`A + \lambda B` of the range, and its
    curve is that of B against A (docs/two-terms.md)::

        both = mr.objectives.TwoTerms(network, losses)
        model = mr.convert(both, mr.BetaRange(0.01, 10.0), encoder="module", decoder=())
        mr.fit(model, data)
        curve = mr.evaluate(model, test)  # distortion is A, rate is B, beta is lambda
        plain = mr.fold(model, 0.3).module

    Args:
        module: any network.
        losses: from the network and a batch of the data to A and B of each example, ``[B]`` each; one of them may be a
            number of the whole batch, ``[]``, such as a distance between sets. If it is a module, it is part of this
            one: its parameters are trained and kept unless they are frozen. Anything else, and what it refers to, such
            as a feature network, is not: copies of this module share it, and it stays where it is.
        couples_examples: whether an example's losses depend on the rest of its batch. Training then draws one weight a
            batch; so it does without being told if the batch has one weight for another reason.

    Raises:
        UsageError: when called, if the losses are not two tensors of the shapes above.
    """

    def __init__(
        self,
        module: nn.Module,
        losses: Callable[[Any, Tensor], tuple[Tensor, Tensor]],
        *,
        couples_examples: bool = False,
    ) -> None:
        super().__init__()
        self.module = module
        self.losses = losses
        self.couples_examples = couples_examples

    def __deepcopy__(self, memo: dict[int, Any]) -> "TwoTerms":
        """Copy the network, and share losses that are no module with the copy."""
        if not isinstance(self.losses, nn.Module) and not self._losses_are_of_the_network():
            memo[id(self.losses)] = self.losses
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied

    def _losses_are_of_the_network(self) -> bool:
        """Whether the losses are a method of the network, which in a copy has to be that of the copied one."""
        owner = getattr(self.losses, "__self__", None)
        return any(owner is module for module in self.module.modules())

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the network."""
        return self.module(*args, **kwargs)

    def terms(self, x: Tensor) -> Terms:
        """Return A as the distortion and B as the rate of each example of a batch ``[B, ...]``.

        Args:
            x: a batch of the data; of pairs, for instance, both in one tensor.
        """
        found = self.losses(self.module, x)
        if not isinstance(found, tuple) or len(found) != 2 or not all(isinstance(part, Tensor) for part in found):
            raise UsageError(f"losses(module, batch) must return two tensors, A and B; got {_shown(found)}")
        examples = x.shape[:1]
        for name, part in zip("AB", found, strict=True):
            if part.shape not in (examples, ()) or (part.ndim == 0 and not self.couples_examples):
                remedy = "" if part.ndim else ", or set couples_examples=True if it is one of the whole batch"
                raise UsageError(
                    f"loss {name} must be one number an example, {list(examples)}; got {list(part.shape)}: "
                    f"sum over all but the batch{remedy}"
                )
        first, second = (part.expand(examples) for part in found)
        return Terms(rate=second, distortion=first)


def _shown(found: Any) -> str:
    if isinstance(found, tuple):
        return f"a tuple of {len(found)}: {', '.join(type(part).__name__ for part in found)}"
    return type(found).__name__
