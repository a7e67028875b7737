"""How long a run has trained, over all its resumptions."""

import time


class Clock:
    """Wall time and processor time since the start; both go on where a stopped run's were.

    Processor time is that of all threads of this process. It says what training costs on a machine that other work
    shares, where wall time does not.
    """

    def __init__(self) -> None:
        self.go_on(0.0, 0.0)

    def go_on(self, seconds: float, cpu_seconds: float) -> None:
        """Set the time so far.

        Args:
            seconds: wall time.
            cpu_seconds: processor time.
        """
        self._started = time.monotonic() - seconds
        self._cpu_started = time.process_time() - cpu_seconds

    @property
    def seconds(self) -> float:
        """Wall time so far."""
        return time.monotonic() - self._started

    @property
    def cpu_seconds(self) -> float:
        """Processor time so far."""
        return time.process_time() - self._cpu_started

    def line(self) -> dict[str, float]:
        """Return both, rounded, for a line of ``metrics.jsonl``."""
        return {"seconds": round(self.seconds, 3), "cpu_seconds": round(self.cpu_seconds, 3)}
