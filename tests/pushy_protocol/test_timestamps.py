"""Both spellings of time: round trips, and texts that are none."""

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pushy_protocol.timestamps import format_iso8601, format_rfc1123, parse_iso8601, parse_rfc1123

# 2012-09-04 23:01:02 UTC
MOMENT = 1346799662

SECONDS = st.integers(0, 253402300799)  # to the end of the year 9999
RFC1123 = (format_rfc1123, parse_rfc1123)
ISO8601 = (format_iso8601, parse_iso8601)
both = pytest.mark.parametrize(("form", "parse"), [RFC1123, ISO8601], ids=["RFC 1123", "ISO 8601"])


@pytest.mark.parametrize(
    ("spelling", "text"), [(RFC1123, "Tue, 04 Sep 2012 23:01:02 GMT"), (ISO8601, "2012-09-04T23:01:02Z")]
)
def test_the_contracts_form(spelling: tuple[Callable[[float], str], Callable[[str], float]], text: str) -> None:
    form, parse = spelling
    assert form(MOMENT) == text
    assert form(MOMENT + 0.999) == text
    assert parse(text) == MOMENT


@both
@given(epoch=SECONDS)
@example(0)
@example(253402300799)
def test_round_trip(form: Callable[[float], str], parse: Callable[[str], float], epoch: int) -> None:
    assert parse(form(epoch)) == epoch


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2012-09-04T23:01:02Z",
        "Tue, 04 Sep 2012 23:01:02",
        "Tue, 04 Sep 2012 23:01:02 +0200",
        "Tue, 04 Sep 2012 23:01:02 GMT ",
        "Tue, 04 Sep 2012 23:01:02 GMT\n",
        "Tue, 4 Sep 2012 23:01:02 GMT",
        "Tue, 04 Sep 12 23:01:02 GMT",
        "tue, 04 sep 2012 23:01:02 gmt",
        "04 Sep 2012 23:01:02 GMT",
        "Tue, 04 Foo 2012 23:01:02 GMT",
        "Tue, 31 Sep 2012 23:01:02 GMT",
        "Tue, 00 Sep 2012 23:01:02 GMT",
        "Tue, 04 Sep 2012 24:01:02 GMT",
        "Tue, 04 Sep 2012 23:60:02 GMT",
        "Tue, 04 Sep 2012 23:01:60 GMT",
        "Tue, \u0660\u0664 Sep 2012 23:01:02 GMT",
        "Tue, 04 Sep \uff12\uff10\uff11\uff12 23:01:02 GMT",
    ],
)
def test_no_rfc1123(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected an RFC 1123 date$"):
        parse_rfc1123(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "Tue, 04 Sep 2012 23:01:02 GMT",
        "2012-09-04T23:01:02",
        "2012-09-04T23:01:02z",
        "2012-09-04t23:01:02Z",
        "2012-09-04 23:01:02Z",
        "2012-09-04T23:01:02Z\n",
        " 2012-09-04T23:01:02Z",
        "2012-09-04T23:01:02.5Z",
        "2012-09-04T23:01:02+00:00",
        "2012-9-4T23:01:02Z",
        "12-09-04T23:01:02Z",
        "2012-13-04T23:01:02Z",
        "2012-02-30T23:01:02Z",
        "2012-09-04T24:01:02Z",
        "2012-09-04T23:01:60Z",
        "0000-01-01T00:00:00Z",
        "\uff12\uff10\uff11\uff12-09-04T23:01:02Z",
    ],
)
def test_no_iso8601(text: str) -> None:
    with pytest.raises(ValueError, match=r"ISO 8601|month|day|hour|minute|second|year"):
        parse_iso8601(text)


NEAR_RFC1123 = st.from_regex(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", fullmatch=True)
NEAR_ISO8601 = st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", fullmatch=True)


@both
@given(text=st.one_of(st.text(), st.text(st.characters(categories=["Cs"])), NEAR_RFC1123, NEAR_ISO8601))
def test_hostile_texts_only_raise_value_errors(
    form: Callable[[float], str], parse: Callable[[str], float], text: str
) -> None:
    try:
        epoch = parse(text)
    except ValueError:
        return
    assert isinstance(epoch, float)
