"""A merge whose process is measured from outside, by processes.py.

    python -m experiments.benchmarks.child OVERRIDE ...

It prints two lines of JSON: seconds and private memory after the imports, before
anything is merged; then the seconds of the merge and the bytes that it wrote.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import wraps
from math import fsum
from types import ModuleType
from unittest.mock import patch

from experiments.benchmarks.processes import memory


def main(overrides: Sequence[str]) -> None:
    """Imports, a line with this process's own footprint, the merge, a line of times."""
    began = time.perf_counter()
    import torch
    from hydra import compose, initialize_config_dir

    from tadrop.app.meter import Meter
    from tadrop.app.places import CONF
    from tadrop.app.runs import exporting

    # The kernels are compiled, or read from the cache, as if they were imports.
    from tadrop.numerics.kernels import formulas, largest, rows, signed  # noqa: F401

    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", list(overrides))
    imports = time.perf_counter() - began
    private = memory(os.getpid())["RssAnon"]
    print(json.dumps({"imports": imports, "private": private}), flush=True)

    decompositions = clocked(torch.linalg, ("svd", "eigh", "qr"))
    meter = Meter()
    start = time.perf_counter()
    busy = time.process_time()
    with patch.object(exporting, "Meter", lambda: meter):
        written = exporting.merge_only(cfg)
    times = {
        "seconds": time.perf_counter() - start,
        "processor": time.process_time() - busy,
        "decompositions": fsum(decompositions),
        "planning": meter.seconds["sparsify"],
        "output": written.bytes,
    }
    print(json.dumps(times), flush=True)


def clocked(module: ModuleType, names: Sequence[str]) -> list[float]:
    """Seconds of every call of these functions from now on.

    The list grows as they are called.
    """
    seconds: list[float] = []

    def timing(function: Callable) -> Callable:
        @wraps(function)
        def call(*args: object, **words: object) -> object:
            start = time.perf_counter()
            try:
                return function(*args, **words)
            finally:
                seconds.append(time.perf_counter() - start)

        return call

    for name in names:
        setattr(module, name, timing(getattr(module, name)))
    return seconds


if __name__ == "__main__":
    main(sys.argv[1:])
