"""Answers of the double, and refusals in Chef's form."""

import json
from collections.abc import Mapping

from attrs import field, frozen


@frozen(kw_only=True)
class Answer:
    """What is answered."""

    status: int = 200
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(factory=dict)

    @classmethod
    def of(cls, value: object, *, status: int = 200) -> "Answer":
        """A value as JSON."""
        return cls(status=status, body=json.dumps(value).encode())


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self.answer = answer


def refusal(status: int, text: str) -> Refusal:
    """A refusal in Chef's form, to be raised."""
    return Refusal(Answer.of({"error": [text]}, status=status))
