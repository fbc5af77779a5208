"""bfloat16 where the processor has no units for it: one line, with what was measured."""

import io

import pytest
import torch
from rich.console import Console

from tadrop.app.runs import opening, precision


@pytest.fixture
def lines(monkeypatch):
    """What is said, on a processor whose speeds a test sets in `seconds`."""
    file = io.StringIO()
    monkeypatch.setattr(precision, "err", Console(file=file, width=300))
    precision.warn_of_slow.cache_clear()
    yield lambda: file.getvalue().splitlines()
    precision.warn_of_slow.cache_clear()


def on(monkeypatch, **milliseconds):
    calls = []

    def seconds(dtype):
        calls.append(dtype)
        return milliseconds[str(dtype).removeprefix("torch.")] / 1000

    monkeypatch.setattr(precision, "product_seconds", seconds)
    return calls


def test_a_slow_processor_is_told_once(monkeypatch, lines):
    calls = on(monkeypatch, float32=1.0, bfloat16=10.3)
    for _ in range(3):
        precision.warn_of_slow(torch.bfloat16)
    (line,) = lines()
    assert "dtype=bfloat16 is 10.3 times slower than float32" in line
    assert "10.3 ms against 1.0 ms" in line
    assert len(calls) == 2


def test_a_fast_one_is_not(monkeypatch, lines):
    calls = on(monkeypatch, float32=1.0, bfloat16=1.2)
    precision.warn_of_slow(torch.float32)
    assert not calls
    precision.warn_of_slow(torch.bfloat16)
    assert lines() == []


def test_measuring_takes_moments():
    for dtype in (torch.float32, torch.bfloat16):
        assert 0 < precision.product_seconds(dtype) < 1


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_run_on_the_cpu_asks(monkeypatch, dtype):
    seen = []
    monkeypatch.setattr(opening, "warn_of_slow", seen.append)
    monkeypatch.setattr(opening.build, "tasks", lambda node: node)

    def stop(node):
        raise StoppedError

    monkeypatch.setattr(opening.build, "model", stop)
    config = {"model": {}, "tasks": {}, "device": "cpu", "dtype": dtype}
    config["paths"] = {"cache": "cache"}
    opening._open_bench.cache_clear()
    with pytest.raises(StoppedError):
        opening.open_bench(config)
    assert seen == [getattr(torch, dtype)]
