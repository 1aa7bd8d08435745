"""What heartbeats tell of the server."""

from pushy_agent.heartbeat import Liveness, SequenceGuard


def liveness() -> Liveness:
    return Liveness(interval=1.0, offline_threshold=3, online_threshold=2, now=100.0)


def test_silence_for_the_threshold_is_offline() -> None:
    server = liveness()
    assert server.online
    assert server.check(103.0)
    assert not server.check(103.1)
    assert not server.online


def test_a_heartbeat_keeps_it_online() -> None:
    server = liveness()
    for second in range(101, 200):
        server.heard(float(second))
        assert server.check(second + 0.9)


def test_it_takes_several_heartbeats_to_return() -> None:
    server = liveness()
    server.check(110.0)
    server.heard(110.5)
    assert not server.check(110.5)
    server.heard(111.5)
    assert server.check(111.5)


def test_heartbeats_that_are_far_apart_do_not_count_together() -> None:
    server = liveness()
    server.check(110.0)
    for second in (110.0, 114.0, 118.0):
        server.heard(second)
        assert not server.check(second)
    server.heard(119.0)
    assert server.check(119.0)


def test_sequences_grow_within_an_incarnation() -> None:
    guard = SequenceGuard()
    assert [guard.is_new("a", sequence) for sequence in (0, 1, 1, 0, 5, 4, 6)] == [
        True, True, False, False, True, False, True,
    ]  # fmt: skip
    assert guard.is_new("b", 0)
    assert not guard.is_new("a", 6)


def test_only_the_last_incarnations_are_remembered() -> None:
    guard = SequenceGuard()
    assert guard.is_new("first", 9)
    for number in range(8):
        assert guard.is_new(str(number), 0)
    assert guard.is_new("first", 9)
    assert not guard.is_new("7", 0)
