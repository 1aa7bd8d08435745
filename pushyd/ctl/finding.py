"""What ``pushyd-ctl check`` finds."""

from attrs import frozen


@frozen
class Finding:
    """Something that was looked at; `mend` says what to do, where it is wrong."""

    what: str
    text: str
    mend: str | None = None
