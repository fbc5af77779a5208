"""How a method takes task vectors one after another, and keeps none of them.

What it keeps of a tensor is a state: a few tensors by name. A formula file that can do so
says it with a class that derives from Arriving; its row names it under `arriving:`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from tadrop.types import Deltas, Masked, MatrixLayout, TadropError, Tau

# What is kept of one tensor; empty before the first arrival.
State = Mapping[str, Tensor]


def check_offered(word: str, value: str, offered: tuple[str, str]) -> None:
    """Raises TadropError for a setting with which tasks cannot arrive one by one."""
    if value not in offered:
        raise TadropError(
            f"{word} is {value!r}; where tasks arrive one by one it must be "
            f"{' or '.join(offered)}"
        )


class Arriving:
    """A method that merges task vectors as they arrive.

    What it gives after the last one is what the method gives of all of them at once, up
    to the rounding of sums, which are in the order of arrival here.
    """

    def arrive(self, state: State, tau: Tau, layout: MatrixLayout) -> State:
        """The state of a tensor with one more task vector in it.

        layout: what the tensor is to per-matrix methods
        """
        raise NotImplementedError

    def survey(self, states: Iterable[State]) -> Any:
        """What merging a tensor needs to know of the states of all; often nothing."""
        return None

    def merged(self, state: State, survey: Any) -> Deltas | Masked:
        """The delta of a tensor for all tasks that have arrived, in that order."""
        raise NotImplementedError

    def tally(self, state: State, merged: Any) -> Tensor | None:
        """What the method's `rescale` takes of a tensor: [k, task], or None."""
        return None
