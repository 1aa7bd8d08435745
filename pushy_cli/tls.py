"""Whom the CLI believes to be the server; what is wrong with its certificates' files is told as an error of its own."""

from collections.abc import Iterable
from pathlib import Path

from pushy_cli.errors import ConfigurationError
from pushy_protocol import tls


class Policy(tls.Policy):
    """How a server's certificate is checked."""

    def __init__(self, *, trusted: Iterable[Path], verify: bool) -> None:
        """:raise ConfigurationError: one of the files has no certificate."""
        try:
            super().__init__(trusted=trusted, verify=verify)
        except tls.NoCertificates as error:
            raise ConfigurationError(
                f"{error} has no certificate that can be read", "Expected certificates in PEM; remove or mend it."
            ) from None
