"""The one optimisation loop, for a picture, a clip's layer and an atlas alike: by default MADGRAD with a decaying rate.

It knows a model, a function that computes the losses of a step, and nothing of what they mean. Progress leaves it as an
iterator of ``Step``; who consumes it (a progress bar, a benchmark, a test) decides when to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from madgrad import MADGRAD
from torch import Tensor, nn

from t2l_cli.config import OptimConfig
from t2l_cli.engine.losses import Losses
from t2l_cli.engine.runtime import memory_guard
from t2l_cli.errors import DivergedError


@dataclass(frozen=True)
class Step:
    """One step that is done. Its values stay on the device until they are read: reading makes an accelerator wait."""

    i: int  # 0-based
    n: int  # steps in all
    losses: Losses
    lr: float  # learning rate that this step used
    stage: str = ""  # which part of the work, in words for a progress bar; "" where there is only one

    @property
    def total(self) -> float:
        """The loss L."""
        return self.losses.total.item()

    @property
    def terms(self) -> dict[str, float]:
        """The weighted terms of L by name; they add up to ``total``."""
        return {name: term.item() for name, term in self.losses.terms.items()}


class LastGood:
    """A copy of a model's parameters from when its loss was last known to be finite."""

    def __init__(self, model: nn.Module) -> None:
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._copies = [p.detach().clone() for p in self._parameters]

    @torch.no_grad()
    def keep(self) -> None:
        """Remember the parameters as they are."""
        for copy, parameter in zip(self._copies, self._parameters, strict=True):
            copy.copy_(parameter)

    @torch.no_grad()
    def restore(self) -> None:
        """Put the remembered parameters back."""
        for copy, parameter in zip(self._copies, self._parameters, strict=True):
            parameter.copy_(copy)


def learning_rate(config: OptimConfig, i: int) -> float:
    """Rate of step ``i``: max(lr * decay^i, lr_min) (supplement, section 3)."""
    return max(config.lr * config.lr_decay**i, config.lr_min)


def optimise(
    model: nn.Module,
    closure: Callable[[int], Losses],
    config: OptimConfig,
    *,
    check_every: int = 1,
    last_good: LastGood | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    schedule: Callable[[int], float] | None = None,
) -> Iterator[Step]:
    """Train ``model``'s parameters for ``config.steps`` steps on ``closure(i)``, the losses of step i; yield each step.

    ``optimizer``: default MADGRAD; a parameter group of it may have a "rate", a factor on the learning rate.
    ``schedule(i)``: learning rate of step i, by default ``learning_rate``.
    Losses, gradients and, at the end, parameters are looked at every ``check_every`` steps (each look waits for an
    accelerator). If one is NaN or infinite, the parameters that last gave a finite loss are put back and DivergedError
    is raised. An accelerator without memory raises DeviceMemoryError.
    """
    last_good = last_good or LastGood(model)
    parameters = [p for p in model.parameters() if p.requires_grad]
    device = parameters[0].device
    if optimizer is None:
        optimizer = MADGRAD(parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    for i in range(config.steps):
        lr = schedule(i) if schedule else learning_rate(config, i)
        for group in optimizer.param_groups:
            group["lr"] = lr * group.get("rate", 1.0)
        with memory_guard(device):
            losses = closure(i)
            total = losses.total
            optimizer.zero_grad(set_to_none=True)
            total.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            if i % check_every == 0:
                _check(i, last_good, [total, *(p.grad for p in parameters if p.grad is not None)])
                last_good.keep()
            optimizer.step()
            if i == config.steps - 1:
                _check(i, last_good, parameters)
        yield Step(i, config.steps, losses.detach(), lr)


def _check(i: int, last_good: LastGood, values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        finite = torch.stack([value.isfinite().all() for value in values]).all()
    if not finite.item():
        last_good.restore()
        raise DivergedError(
            f"the loss became NaN or infinite at step {i + 1}; the last good result is kept. "
            "Try another --seed or a lower learning rate."
        )
