"""How many steps a stage gets for its seconds."""

import pytest

from dtsgan.budget import TIMED_STEPS, Budget


def settle(budget: Budget, seconds: list[float], share: float = 1.0) -> list[int | None]:
    return [budget.step(k + 1, taken, share) for k, taken in enumerate(seconds)]


def test_a_stage_gets_the_steps_that_fit_into_what_is_left_of_its_share():
    budget = Budget(100)
    budget.begin(10)
    assert settle(budget, [1] * TIMED_STEPS, share=0.5) == [None] * (TIMED_STEPS - 1) + [TIMED_STEPS + 41]
    assert budget.step(TIMED_STEPS + 1, 50, 0.5) is None, "it is settled once"
    assert budget.spent == 10 + TIMED_STEPS + 50


def test_one_slow_step_does_not_set_the_pace():
    budget = Budget(100)
    steps = settle(budget, [13] + [1] * (TIMED_STEPS - 1))[-1]
    assert steps == TIMED_STEPS + 80


def test_a_stage_always_gets_one_step_beyond_those_that_were_timed():
    assert settle(Budget(0.5), [1] * TIMED_STEPS)[-1] == TIMED_STEPS + 1


def test_without_a_budget_nothing_is_settled_and_time_is_still_counted():
    budget = Budget(None)
    assert settle(budget, [1] * 12) == [None] * 12
    assert budget.spent == 12


@pytest.mark.parametrize("stop_at", range(TIMED_STEPS + 1))
def test_a_resumed_budget_settles_what_the_unbroken_one_does(stop_at):
    seconds = [1.0, 3.0, 2.0, 2.5, 1.5, 2.0, 4.0, 1.0]
    unbroken, first, second = Budget(90), Budget(90), Budget(90)
    settled = settle(unbroken, seconds)
    before = settle(first, seconds[:stop_at])
    second.load_state_dict(first.state_dict())
    after = [second.step(k + 1, seconds[k], 1.0) for k in range(stop_at, TIMED_STEPS)]
    assert before + after == settled


def test_the_next_stage_is_timed_anew():
    budget = Budget(1000)
    settle(budget, [10] * TIMED_STEPS)
    budget.end()
    assert settle(budget, [1] * TIMED_STEPS)[-1] == TIMED_STEPS + 1000 - 11 * TIMED_STEPS
