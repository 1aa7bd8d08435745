"""How long to wait before the next attempt: full jitter, so that agents that lost one server do not return at once.

A pure function: the caller counts the failures, brings the randomness and does the waiting.
"""

from collections.abc import Callable

FIRST = 1.0
LONGEST = 60.0


def delay(failures: int, jitter: Callable[[], float]) -> float:
    """Seconds to wait after so many `failures` in a row (1 or more).

    It lies evenly between 0 and a ceiling that begins with :data:`FIRST` and doubles up to :data:`LONGEST`.

    :param jitter: gives a number from 0 up to, but not including, 1
    """
    # The exponent is bounded before the power is taken: an agent may fail for years.
    ceiling = min(LONGEST, FIRST * 2.0 ** min(failures - 1, 16))
    return ceiling * jitter()
