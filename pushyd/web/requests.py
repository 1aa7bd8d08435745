"""Requests as they come in: their size is bounded while they are read, their path is brought into one form."""

from typing import cast

from klein import KleinRenderable
from klein.resource import KleinResource
from twisted.web.iweb import IRequest
from twisted.web.server import Request

from pushy_protocol.api import MAX_BODY_BYTES, ErrorBody, encode

_DRAINED_BYTES = 16 * MAX_BODY_BYTES
"""How much of a body that is too large is read and thrown away, so that its sender gets to read the answer."""


class BoundedRequest(Request):
    """Answers 413 as soon as a body is known to be too large, by its announced or its real length."""

    _body_bytes = 0
    _refused = False

    def gotLength(self, length: int | None) -> None:
        """The headers are read; `length` is None for a chunked body."""
        if length is not None and length > MAX_BODY_BYTES:
            self._refuse()
            length = 0  # nothing is kept, so no room is made for it
        super().gotLength(length)  # type: ignore[no-untyped-call]  # Twisted has no types here

    def handleContentChunk(self, data: bytes) -> None:
        """A piece of the body."""
        self._body_bytes += len(data)
        if self._body_bytes > MAX_BODY_BYTES and not self._refused:
            self._refuse()
        if not self._refused:
            super().handleContentChunk(data)  # type: ignore[no-untyped-call]  # Twisted has no types here
        elif self._body_bytes > _DRAINED_BYTES:
            self.channel.forceAbortClient()

    def getRequestHostname(self) -> bytes:
        """For Klein, which fails where a caller's Host is no host name; no route of ours depends on it."""
        return b"localhost"

    def process(self) -> None:
        """The request is read."""
        if self._refused:
            self.channel.loseConnection()
        else:
            super().process()  # type: ignore[no-untyped-call]  # Twisted has no types here

    def _refuse(self) -> None:
        self._refused = True
        self.requestHeaders.removeHeader(b"Expect")  # or the channel invites the body after all
        body = encode(ErrorBody(error=f"JSON must be no more than {MAX_BODY_BYTES} bytes."))
        head = (
            "HTTP/1.1 413 Request Entity Too Large\r\n"
            "Content-Type: application/json\r\n"
            "Connection: close\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self.channel.write(head.encode() + body)


class NormalizingResource(KleinResource):
    """Klein's resource, for which ``//pushy//jobs/`` is ``/pushy/jobs``, without a redirect that would need signing."""

    def render(self, request: IRequest) -> KleinRenderable:
        """Answer a request."""
        web_request = cast("Request", request)
        segments = [segment for segment in web_request.postpath or [] if segment]
        # What is no text, or has a quoted slash, is as unknown as "/"; Klein would log the one and redirect the other.
        web_request.postpath = segments if all(_is_plain(segment) for segment in segments) else []
        return super().render(request)


def _is_plain(segment: bytes) -> bool:
    try:
        return "/" not in segment.decode()
    except UnicodeDecodeError:
        return False


def signed_path(request: Request) -> str:
    """The path as the caller wrote (and signed) it, without the query."""
    return str(request.uri.partition(b"?")[0].decode("latin-1"))


def lower_headers(request: Request) -> dict[str, str]:
    """The headers by lower-case name; of one that is there more than once, the last."""
    return {
        name.decode("latin-1").lower(): values[-1].decode("latin-1")
        for name, values in request.requestHeaders.getAllRawHeaders()
    }


def argument(request: Request, name: str) -> str | None:
    """An argument of the query, the first of its name; None where there is none."""
    values = request.args.get(name.encode()) if request.args else None
    return values[0].decode("utf-8", "replace") if values else None


def base_url(request: Request, fallback_host: str) -> str:
    """``https://HOST[:PORT]`` as the caller sees this server, also from behind a proxy."""
    forwarded = request.getHeader("x-forwarded-proto")
    scheme = forwarded if forwarded in {"http", "https"} else "https" if request.isSecure() else "http"
    host = request.getHeader("host") or fallback_host
    for default in (":80", ":443"):
        host = host.removesuffix(default)
    return f"{scheme}://{host}"


def accepts(request: Request, content_type: str) -> bool:
    """Whether the caller takes an answer of this type."""
    accept = request.getHeader("accept")
    if not accept:
        return True
    wanted = {content_type, "*/*", f"{content_type.partition('/')[0]}/*"}
    for offer in accept.split(","):
        media_range, *parameters = (part.strip().lower() for part in offer.split(";"))
        if media_range in wanted and not any(_is_zero(parameter) for parameter in parameters):
            return True
    return False


def _is_zero(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and value.strip() in {"0", "0.", "0.0", "0.00", "0.000"}
