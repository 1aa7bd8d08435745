"""The goals, and results beside them. Judging is left to people: a busy machine misses what a quiet one meets."""

import hmac
import time

from attrs import frozen

from benchmarks.rows import Figures

REFERENCE_US = 1.5
"""Processor time of the HMAC of a heartbeat on the machine when nothing else runs."""


@frozen
class Goal:
    """At most (or, where `at_least`, at least) so much of one figure."""

    figure: str
    limit: float
    at_least: bool = False

    def __str__(self) -> str:
        return f"{self.figure} {'≥' if self.at_least else '≤'} {self.limit:g}"


GOALS: dict[tuple[str, int], list[Goal]] = {
    ("job", 1000): [Goal("s", 0.25), Goal("cpu ms/node", 0.15)],
    ("job", 5000): [Goal("s", 1.2), Goal("cpu ms/node", 0.15)],
    ("job", 10_000): [Goal("s", 2.5), Goal("cpu ms/node", 0.15)],
    ("idle", 10_000): [Goal("core %", 40), Goal("wrongly down", 0)],
    ("heartbeat", 1000): [Goal("cpu us/heartbeat", 25)],
    ("sequential", 1): [Goal("p50 ms", 8)],
    ("creation", 10_000): [Goal("s", 0.35), Goal("other's wait ms, worst", 50)],
    ("online, TLS", 10_000): [Goal("nodes/s", 250, at_least=True), Goal("KB/node", 50)],
    ("online, plain", 10_000): [Goal("nodes/s", 400, at_least=True), Goal("KB/node", 50)],
    ("restart", 10_000): [Goal("s", 20)],
    ("list", 1_000_000): [Goal("ms", 20)],
    ("one job", 10_000): [Goal("ms", 60)],
    ("feed readers", 1000): [Goal("times the job alone", 2)],
    ("real agents", 100): [Goal("whole command s", 1.5), Goal("one agent p50 ms", 20)],
}


@frozen(kw_only=True)
class Result:
    """One row at one size."""

    row: str
    size: int
    figures: Figures
    slowness: float
    """How many times longer the machine took for the same work than when nothing else runs on it."""


def slowness() -> float:
    """How slow the machine is now."""
    key, body, times = b"k" * 32, b"b" * 300, 10_000
    measured = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(times):
            hmac.digest(key, body, "sha256")
        measured.append((time.process_time() - began) / times * 1e6)
    return sorted(measured)[2] / REFERENCE_US


def table(results: list[Result], baseline: dict[str, Figures]) -> str:
    """The results in Markdown: figures, those of the baseline, goals, and the growth from a tenth of the size."""
    by_key = {(one.row, one.size): one for one in results}
    lines = ["| row | size | figures | before | at a tenth | goal | machine |", "|---|---|---|---|---|---|---|"]
    for one in results:
        goals = GOALS.get((one.row, one.size), [])
        tenth = by_key.get((one.row, one.size // 10))
        verdict = "; ".join(f"{goal} {'✓' if met(goal, one.figures) else '✗'}" for goal in goals)
        before = baseline.get(f"{one.row} {one.size}", {})
        lines.append(
            f"| {one.row} | {one.size:,} | {told(one.figures)} | {told(before)} | "
            f"{told(tenth.figures) if tenth else ''} | {verdict} | 1/{one.slowness:.1f} |"
        )
    return "\n".join(lines)


def met(goal: Goal, figures: Figures) -> bool:
    """Whether a goal is reached, as measured, whatever else the machine did."""
    value = figures[goal.figure]
    return value >= goal.limit if goal.at_least else value <= goal.limit


def told(figures: Figures) -> str:
    """Figures as they are printed."""
    return ", ".join(f"{value:.3g} {name}" for name, value in figures.items())
