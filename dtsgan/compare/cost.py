"""What a piece of work took: wall time and the most memory, of this process alone."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MB = 2**20


@dataclass
class Cost:
    """Seconds of wall time, and the most resident memory in MB, libraries (about 300 MB) included."""

    seconds: float = 0.0
    memory: float = 0.0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Adds the time of what is done inside, and keeps its peak of memory."""
        _forget_peak()
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - began
            self.memory = max(self.memory, _peak())


def _forget_peak() -> None:
    """Linux alone can: elsewhere the peak is that of the process so far."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak() -> float:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MB if sys.platform == "darwin" else 1024)
