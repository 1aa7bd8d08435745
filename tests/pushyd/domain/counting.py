"""Counts of work instead of seconds, which are the same on every machine."""

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def instructions(run: Callable[[], object]) -> int:
    """How many bytecode instructions `run` executes; what C code does in one instruction counts once."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Callable[[FrameType, str, Any], Any]:
        nonlocal count
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        count += event == "opcode"
        return trace

    before = sys.gettrace()  # that of a coverage run, say
    gc.disable()  # what others do when garbage is collected is not counted
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
        gc.enable()
    return count
