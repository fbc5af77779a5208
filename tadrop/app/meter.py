"""Time and memory of a run, stage by stage."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Meter:
    """Seconds per stage and the peak resident memory since it was made."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._can_reset = _reset_peak()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(
                self.seconds.get(name, 0.0) + time.perf_counter() - start, 3
            )

    def peak_bytes(self) -> int:
        """Peak resident set; of the process's whole life where the system cannot reset
        its high-water mark.
        """
        if self._can_reset:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return _whole_life_peak()


def free_bytes() -> int | None:
    """Memory that is free here, of the machine or of what this process may have of it.

    None where the system does not tell.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    free = [int(line.split()[1]) * 1024 for line in lines if "MemAvailable" in line]
    allowed = _left_of_group(Path("/sys/fs/cgroup"))
    return min([*free, *allowed], default=None)


def _left_of_group(group: Path) -> list[int]:
    """What a container leaves to its processes, but for caches of files; or nothing."""
    try:
        most = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        caches = (group / "memory.stat").read_text().split()
        return [int(most) - used + int(caches[caches.index("file") + 1])]
    except (OSError, ValueError):
        return []


def shown(count: int) -> str:
    """Bytes as people read them, in decimal units."""
    for size, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def _whole_life_peak() -> int:
    """The peak resident set of the process's whole life;
    0 where no system call tells.
    """
    try:
        import resource
    except ImportError:  # Windows has no such module
        return 0
    unit = (
        1 if sys.platform == "darwin" else 1024
    )  # macOS counts bytes, others kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _reset_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True
