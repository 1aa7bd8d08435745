"""Requests to a Chef Server, signed by the principal of the settings: few at a time, and none while it is away.

What an answer means is for others; here it is settled that there is one, and that a Chef Server gave it. An answer
that means that we may not ask is none.
"""

from collections.abc import Callable, Mapping
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from twisted.logger import Logger

from pushy_protocol.https import Answer, SignedClient, Unreachable
from pushyd.identity.chef_shapes import API_VERSIONS, NotChef, read_refusal, version_for
from pushyd.identity.interface import IdentityUnavailable
from pushyd.identity.turns import TooMany, Turns

CHEF_VERSION = "18.0.0"
"""What we say to be in `X-Chef-Version`; a Chef Server refuses clients of 10 and older."""

MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""The largest answer that is read: the names of some hundred thousand clients."""

PAUSE_SECONDS = 2.0
"""How long nothing is asked after it could not be reached."""

LOG_SECONDS = 60.0
"""A complaint is logged once in so long, with how often there was reason for it."""

_WAITING = 20_000
_WAIT_SECONDS = 30.0
_FORWARDED = 8
_FORWARDED_WAITING = 100
_COMPLAINTS = 100


class ChefFault(IdentityUnavailable):
    """The Chef Server could not be asked; the text is for the caller, and names nobody.

    :param what: that was to be got
    :param reason: why it was not, in a few words
    :param detail: what the operator should know beyond that
    :param status: of its answer, if there was one
    """

    def __init__(self, what: str, reason: str, *, detail: str = "", status: int | None = None) -> None:
        super().__init__(f"Failed to connect to the Chef Server to get {what}: {reason}")
        self.what = what
        self.reason = reason
        self.detail = "".join(letter if letter.isprintable() else "?" for letter in detail)  # it goes into the log
        self.status = status


class ChefHttp:
    """One Chef Server."""

    log = Logger()

    def __init__(
        self,
        *,
        client: SignedClient,
        url: str,
        user: str,
        key: RSAPrivateKey,
        seconds: Callable[[], float],
        concurrency: int,
    ) -> None:
        """:param url: ``https://HOST[:PORT]``
        :param user: who signs, with `key`
        :param seconds: of a clock that never goes back
        :param concurrency: how many requests there are at a time; others wait
        """
        self.url = url
        self.user = user
        self._client = client
        self._key = key
        self._seconds = seconds
        self._turns = Turns(concurrency, waiting=_WAITING)
        self._version = API_VERSIONS[0]
        # Searches take long; who is asked about must not wait for them.
        self._forwarding = Turns(_FORWARDED, waiting=_FORWARDED_WAITING)
        self._away: tuple[float, str] | None = None  # until when nothing is asked, and why
        self._logged: dict[str, tuple[float, int]] = {}  # complaints: when last, and how often since

    async def get(self, parts: tuple[str, ...], what: str) -> Answer:
        """Its answer, which is 200, or 404 in its own form.

        :param parts: of the path, not quoted
        :param what: is to be got, for errors
        :raise ChefFault: there is none
        """
        path = "".join(f"/{quote(part, safe='')}" for part in parts)
        try:
            return await self._in_turn(path, what)
        except ChefFault as fault:
            self.complain(fault)
            raise

    async def forward(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer, whatever it is, to a request that somebody else has signed.

        :param target: path and query, as they were signed and sent
        :raise ChefFault: there is none
        """
        what = "an answer"
        await _turn(self._forwarding, what)
        try:
            self._refuse_while_away(what)
            sent = {"X-Chef-Version": CHEF_VERSION, **headers}
            return await self._client.send(
                method, self.url + target, headers=sent, body=body, max_response=MAX_ANSWER_BYTES
            )
        except Unreachable as error:
            fault = _unreachable(what, error)
            self.complain(fault)
            raise fault from error
        finally:
            self._forwarding.give_back()

    def complain(self, fault: ChefFault) -> None:
        """Log what is wrong with its answers: at once, and then a line a minute for each reason."""
        now = self._seconds()
        last, count = self._logged.get(fault.reason, (None, 0))
        count += 1
        if last is not None and now - last < LOG_SECONDS:
            self._logged[fault.reason] = last, count
            return
        if len(self._logged) >= _COMPLAINTS:
            self._logged.clear()
        self._logged[fault.reason] = now, 0
        self.log.error(
            "The Chef Server {url} cannot be asked for {what}, as {user}: {reason}{detail}; {count} requests failed",
            url=self.url,
            what=fault.what,
            user=self.user,
            reason=fault.reason,
            detail=f" ({fault.detail})" if fault.detail not in ("", fault.reason) else "",
            count=count,
        )

    async def _in_turn(self, path: str, what: str) -> Answer:
        self._refuse_while_away(what)
        came = self._seconds()
        await _turn(self._turns, what)
        try:
            self._refuse_while_away(what)  # it may have been found out meanwhile
            if self._seconds() - came > _WAIT_SECONDS:
                raise ChefFault(what, "it is too slow")
            answer = await self._ask(path)
        except Unreachable as error:
            fault = _unreachable(what, error)
            self._away = self._seconds() + PAUSE_SECONDS, fault.reason
            raise fault from error
        finally:
            self._turns.give_back()
        if self._away:
            self._away = None
            self.log.info("The Chef Server {url} answers again", url=self.url)
        return self._checked(answer, what)

    def _refuse_while_away(self, what: str) -> None:
        """Who asks while it is away must not wait for a timeout each; one may ask every now and then."""
        if self._away and self._seconds() < self._away[0]:
            raise ChefFault(what, self._away[1])

    async def _ask(self, path: str) -> Answer:
        answer = await self._send(path)
        if answer.status == 406:
            version = version_for(answer.body)
            if version not in (None, self._version):
                self._version = version or 0
                answer = await self._send(path)
        return answer

    async def _send(self, path: str) -> Answer:
        return await self._client.request(
            "GET",
            self.url + path,
            user=self.user,
            key=self._key,
            server_api_version=str(self._version),
            headers={"X-Chef-Version": CHEF_VERSION},
            max_response=MAX_ANSWER_BYTES,
        )

    def _checked(self, answer: Answer, what: str) -> Answer:
        """:raise ChefFault: it is neither 200 nor 404, or the 404 of something else, such as a proxy's"""
        status = answer.status
        if status == 200:
            return answer
        try:
            said = read_refusal(answer.body)
            is_chef = True
        except NotChef:
            said, is_chef = answer.error(), False
        if status == 404 and is_chef:
            return answer
        if 300 <= status < 400:
            reason, said = "it redirects", f"to {answer.headers.get('location')}; that is what the URL should be"
        elif status == 401:
            reason = "it does not accept the push server's own key"
        elif status == 403:
            reason = "the push server has no right to it"
        elif not is_chef:
            reason = f"what answers is no Chef Server (HTTP {status})"
        else:
            reason = f"HTTP {status}"
        raise ChefFault(what, reason, detail=said, status=status)


async def _turn(turns: Turns, what: str) -> None:
    """Wait for a turn.

    :raise ChefFault: too many do
    """
    try:
        await turns.take()
    except TooMany:
        raise ChefFault(what, "too many wait for it") from None


def _unreachable(what: str, error: Unreachable) -> ChefFault:
    # Where the server is, is not for strangers.
    name_is_unknown = str(error).startswith("DNS")
    return ChefFault(what, "its name cannot be resolved" if name_is_unknown else str(error), detail=str(error))
