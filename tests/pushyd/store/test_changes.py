"""What is left of many changes."""

from hypothesis import given
from hypothesis import strategies as st

from pushy_protocol.states import JobStatus, NodeStatus
from pushyd.store.changes import coalesce
from pushyd.store.interface import Change, JobStatusChange, NodeStatusChange, OutputCaptured

few_jobs = st.sampled_from(["j1", "j2"])
few_nodes = st.sampled_from(["n1", "n2", "j1"])
changes: st.SearchStrategy[Change] = st.one_of(
    st.builds(JobStatusChange, job_id=few_jobs, status=st.sampled_from(JobStatus), at=st.integers(0, 9)),
    st.builds(NodeStatusChange, job_id=few_jobs, node=few_nodes, status=st.sampled_from(NodeStatus)),
    st.builds(OutputCaptured, job_id=few_jobs, node=few_nodes, stdout=st.binary(max_size=2), stderr=st.none()),
)


def left_behind(all_changes: list[Change]) -> tuple[dict[object, Change], dict[object, Change]]:
    """The plain way: the last change of each thing, the first output of each node."""
    statuses: dict[object, Change] = {}
    outputs: dict[object, Change] = {}
    for change in all_changes:
        if isinstance(change, OutputCaptured):
            outputs.setdefault((change.job_id, change.node), change)
        else:
            statuses[type(change), change.job_id, getattr(change, "node", None)] = change
    return statuses, outputs


@given(st.lists(changes))
def test_it_leaves_the_same_behind(all_changes: list[Change]) -> None:
    assert left_behind(coalesce(all_changes)) == left_behind(all_changes)


@given(st.lists(changes))
def test_no_status_twice(all_changes: list[Change]) -> None:
    left = [change for change in coalesce(all_changes) if not isinstance(change, OutputCaptured)]
    assert len(left) == len({(type(change), change.job_id, getattr(change, "node", None)) for change in left})


@given(st.lists(changes))
def test_again_changes_nothing(all_changes: list[Change]) -> None:
    assert coalesce(coalesce(all_changes)) == coalesce(all_changes)
