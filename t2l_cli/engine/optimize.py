"""The optimisation loop of photos, video layers and atlases: by default MADGRAD with a decaying learning rate.

It knows a model and a function that computes the losses of a step, but not what they mean. It is an iterator of
``Step``; whoever consumes it (a progress bar, a benchmark, a test) decides when to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from t2l_cli.config import OptimConfig
from t2l_cli.engine.flat_madgrad import FlatMADGRAD
from t2l_cli.engine.losses import Losses
from t2l_cli.engine.runtime import memory_guard
from t2l_cli.errors import DivergedError
from t2l_cli.progress import Tick


@dataclass(frozen=True, kw_only=True)
class Step(Tick):
    """One finished training step. Its losses stay on the device until they are read; reading them makes a GPU wait."""

    losses: Losses
    lr: float  # learning rate of this step

    @property
    def total(self) -> float:
        """The loss L."""
        return self.losses.total.item()

    @property
    def terms(self) -> dict[str, float]:
        """The weighted terms of L by name; their sum is ``total``."""
        terms = self.losses.terms
        return dict(zip(terms, torch.stack(list(terms.values())).tolist(), strict=True)) if terms else {}


class LastGood:
    """A copy of a model's parameters, taken when its loss was last known to be finite."""

    def __init__(self, model: nn.Module) -> None:
        self._parameters: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self._copies = [p.detach().clone() for p in self._parameters]

    @torch.no_grad()
    def keep(self) -> None:
        """Copy the current parameters."""
        torch._foreach_copy_(self._copies, self._parameters)

    @torch.no_grad()
    def restore(self) -> None:
        """Put the copied parameters back."""
        torch._foreach_copy_(self._parameters, self._copies)


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
    recover: Callable[[Exception], str | None] | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    schedule: Callable[[int], float] | None = None,
) -> Iterator[Step]:
    """Train ``model`` for ``config.steps`` steps on ``closure(i)``, the losses of step i; yield each step.

    ``optimizer``: by default MADGRAD. A parameter group may have a "rate", a factor on the learning rate.
    ``schedule(i)``: the learning rate of step i, by default ``learning_rate``.
    ``recover(error)``: called when a step fails. It either prepares another attempt and returns a note (see
    ``Step.note``), or returns None, and the error is raised.
    Loss and gradients are checked every ``check_every`` steps (each check makes an accelerator wait), parameters after
    the last step. If a value is NaN or infinite, the parameters that last gave a finite loss are restored and
    DivergedError is raised. Raises DeviceMemoryError if an accelerator runs out of memory.
    """
    last_good = last_good or LastGood(model)
    parameters = [p for p in model.parameters() if p.requires_grad]
    device = parameters[0].device
    if optimizer is None:
        optimizer = FlatMADGRAD(parameters, config)
        parameters = optimizer.param_groups[0]["params"]
    for i in range(config.steps):
        lr = schedule(i) if schedule else learning_rate(config, i)
        for group in optimizer.param_groups:
            group["lr"] = lr * group.get("rate", 1.0)
        with memory_guard(device):
            losses, note = _differentiate(closure, i, optimizer, recover)
            if i % check_every == 0:
                check_finite(i, last_good, [losses.total, *(p.grad for p in parameters if p.grad is not None)])
                last_good.keep()
            optimizer.step()
            if i == config.steps - 1:
                check_finite(i, last_good, parameters)
        yield Step(i, config.steps, note=note, losses=losses, lr=lr)


def _differentiate(
    closure: Callable[[int], Losses],
    i: int,
    optimizer: torch.optim.Optimizer,
    recover: Callable[[Exception], str | None] | None,
) -> tuple[Losses, str]:
    """Compute the losses of step ``i`` and their gradients; return the losses and the note of ``recover``, or ""."""
    note = ""
    while True:
        try:
            return _attempt(closure, i, optimizer), note
        except Exception as error:
            change = recover(error) if recover else None
            if change is None:
                raise
            note = change
        # Outside of the except block, the exception and all that the failed attempt computed are freed.


def _attempt(closure: Callable[[int], Losses], i: int, optimizer: torch.optim.Optimizer) -> Losses:
    losses = closure(i)
    optimizer.zero_grad()
    losses.total.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return losses.detach()


def check_finite(i: int, last_good: LastGood, values: Sequence[Tensor]) -> None:
    """Where a value is NaN or infinite, restore the last good parameters and raise DivergedError."""
    with torch.no_grad():
        finite = torch.stack([value.isfinite().all() for value in values]).all()
    if not finite.item():
        last_good.restore()
        raise DivergedError(f"the loss became NaN or infinite at step {i + 1}.")
