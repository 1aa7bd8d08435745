import json

from hypothesis import given
from hypothesis import strategies as st

from pushy_cli.redact import MAX_SHOWN, redacted


def test_secrets_are_hidden_wherever_they_stand() -> None:
    body = [
        {
            "command": "x",
            "env": {"A": "s3cret"},
            "file": "raw:s3cret",
            "deep": [{"private_key": "s3cret", "env": "s3cret"}],
        }
    ]
    assert json.loads(redacted(json.dumps(body).encode())) == [
        {
            "command": "x",
            "env": {"A": "(hidden)"},
            "file": "(hidden)",
            "deep": [{"private_key": "(hidden)", "env": "(hidden)"}],
        }
    ]


def test_what_cannot_be_read_is_not_shown() -> None:
    assert redacted(b"") == ""
    assert redacted(b"s3cret") == "6 bytes that are not JSON"
    assert redacted(b"[" * 100_000) == "100000 bytes that are not JSON"
    assert redacted(b"1" * 5000) == "5000 bytes that are not JSON"
    assert len(redacted(json.dumps("x" * 10_000).encode())) < MAX_SHOWN + 50


@given(st.binary(max_size=100))
def test_any_body_becomes_one_line_of_ascii(body: bytes) -> None:
    text = redacted(body)
    assert text.isascii()
    assert "\n" not in text
