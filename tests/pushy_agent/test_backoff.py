"""The delay before the next attempt."""

from hypothesis import given
from hypothesis import strategies as st

from pushy_agent.backoff import FIRST, LONGEST, delay


def test_ceiling_doubles_up_to_a_minute() -> None:
    almost_one = 0.999999
    ceilings = [round(delay(failures, lambda: almost_one), 3) for failures in range(1, 10)]
    assert ceilings == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@given(failures=st.integers(min_value=1, max_value=10**9), jitter=st.floats(0, 1, exclude_max=True))
def test_bounds(failures: int, jitter: float) -> None:
    assert 0 <= delay(failures, lambda: jitter) <= LONGEST
    assert delay(1, lambda: jitter) <= FIRST
