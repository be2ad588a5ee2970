"""The source of chance: whatever a case is comes from one integer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

_T = TypeVar("_T")


class Dice(random.Random):
    """Python's generator with the few questions that the cases ask."""

    def maybe(self, p: float = 0.5) -> bool:
        """True with probability ``p``."""
        return self.random() < p

    def one(self, *choices: _T) -> _T:
        """One of the arguments."""
        return self.choice(choices)

    def some(self, items: Sequence[_T], most: int) -> list[_T]:
        """Up to ``most`` different ``items``."""
        return self.sample(list(items), self.randint(0, min(most, len(items))))

    def arrays(self) -> np.random.Generator:
        """NumPy's generator, seeded from here."""
        return np.random.default_rng(self.getrandbits(63))
