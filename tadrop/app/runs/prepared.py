"""What a configuration merges, once its checkpoints are open and cut."""

from dataclasses import dataclass
from typing import Any

from tadrop.errors import TadropError
from tadrop.evaluation.bench import Bench
from tadrop.evaluation.statistics import TaskStatistics
from tadrop.protocols.streams import Stream
from tadrop.vectors.task_vectors import TaskVectors


@dataclass(frozen=True)
class Prepared:
    """What a configuration merges.

    vectors:    the task vectors as the checkpoints give them
    stream:     the same as they stand before the merge: searched, sparsified
    bench:      the module and the tasks; None where nothing is evaluated
    statistics: what the method needs to know of each model on its data, or None
    """

    cfg: Any
    vectors: TaskVectors
    stream: Stream
    bench: Bench | None = None
    statistics: TaskStatistics | None = None

    def evaluated(self) -> Bench:
        """The bench. Raises TadropError where nothing is evaluated."""
        if self.bench is None:
            raise TadropError("this needs an evaluation: evaluate=true")
        return self.bench
