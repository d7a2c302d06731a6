"""Time as steps: how many the stages of a training may take in the seconds that it has."""

from typing import Any

TIMED_STEPS = 8  # enough to know a stage's pace


class Budget:
    """Counts seconds and, once a stage, settles by the pace of its first steps how many it will be. From then
    on only steps count, so a resumed training ends as an unbroken one.

    Args:
        seconds: what all stages together may take; None leaves every stage its own number of steps.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self.spent = 0.0  # seconds, without those that a stopped training lay idle
        self._timed: list[float] = []  # of this stage's first steps

    def begin(self, seconds: float) -> None:
        """Counts what was done between the steps of one stage and the next."""
        self.spent += seconds

    def step(self, step: int, seconds: float, share: float) -> int | None:
        """Counts what a step took.

        Args:
            step: its number in its stage, from 1.
            seconds: how long it took.
            share: the part of what is left that belongs to this stage, above 0 to 1.

        Returns:
            After the last of the timed steps, how many the stage may have in all; otherwise None.
        """
        self.spent += seconds
        if self.seconds is None or step > TIMED_STEPS:
            return None
        self._timed.append(seconds)
        if step < TIMED_STEPS:
            return None
        pace = sorted(self._timed)[len(self._timed) // 2]
        allowed = (self.seconds - self.spent) * share
        return max(TIMED_STEPS + 1, TIMED_STEPS + round(allowed / pace))

    def end(self) -> None:
        """The stage is finished; the next one is timed anew."""
        self._timed = []

    def state_dict(self) -> dict[str, Any]:
        return {"spent": self.spent, "timed": list(self._timed)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.spent, self._timed = state["spent"], list(state["timed"])
