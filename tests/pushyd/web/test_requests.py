"""What every request has: a path in one form or another, a method, a size, what it accepts; and what may go wrong."""

from collections.abc import Sequence

from twisted.internet.defer import Deferred

from pushyd.web.app import Api, Call
from pushyd.web.errors import Response, json_response
from tests.pushyd.doubles import texts
from tests.pushyd.identity.keys import key_of
from tests.pushyd.web.serving import BELOW, ORG, Answer, ApiTestCase, head

STATES = f"{BELOW}/node_states"
JOBS = f"{BELOW}/jobs"
TOO_LARGE = "JSON must be no more than 1000000 bytes."


class PathTests(ApiTestCase):
    async def test_slashes_may_be_doubled_and_trail_and_nothing_is_redirected(self) -> None:
        for target in ("//pushy/_status", "/pushy/_status/", "///pushy///_status//"):
            self.assertEqual((await self.raw(b"GET", target.encode())).status, 200, target)
        for target in (f"/{STATES}", f"{STATES}/", f"{STATES}//", STATES.replace("/", "//"), f"{STATES}//web1/"):
            # Whoever signs, signs the path that it sends.
            answer = await self.raw(b"GET", target.encode(), self.signed("GET", target))
            self.assertEqual(answer.status, 200, target)

    async def test_what_is_no_path_is_not_found_in_json(self) -> None:
        for target in (
            "/",
            "//",
            "/favicon.ico",
            "/pushy",
            "/pushy/_status/x",
            f"/organizations/{ORG}/pushy",
            f"/organizations/{ORG}/pushy/_status",
            f"{STATES}/web1/x",
            f"{BELOW}/nonsense",
            f"{BELOW}/../../../etc/passwd",
            f"{BELOW}/node_states/..%2f..",
            "http://[",
            f"{BELOW}%2F%2Fjobs",
            f"{BELOW}/jobs%2F",
        ):
            answer = await self.raw(b"GET", target.encode())
            self.assertEqual(answer.refusal, (404, "Not Found."), target)

    async def test_a_path_that_is_no_text_is_not_found(self) -> None:
        for target in (b"/%ff", b"/pushy/%ff", f"{STATES}/%C3%28".encode(), f"{STATES}/web1?ccpk=%ff".encode()):
            answer = await self.raw(b"GET", target, self.signed("GET", target.decode("latin-1").partition("?")[0]))
            self.assertEqual(answer.status, 200 if b"?" in target else 404, target)
            if answer.status == 404:
                self.assertEqual(answer.refusal[1], "Not Found.")
        self.assertEqual(self.flushLoggedErrors(), [], "the log of hostile paths is the access log")

    async def test_what_a_host_may_be_is_not_asked(self) -> None:
        for host in ("", "x" * 64, ".", "a..b", "\xff", "xn--\xe9", "a b", "[::1", "x" * 300, "push.example:port"):
            answer = await self.raw(b"GET", b"/pushy/_status", {"Host": host})
            self.assertEqual(answer.status, 200, host)
        self.assertEqual(self.flushLoggedErrors(), [])


class MethodTests(ApiTestCase):
    async def test_a_wrong_method_is_told_the_right_ones(self) -> None:
        paths = {
            "/pushy/_status": {"GET", "HEAD"},
            f"{BELOW}/config/web1": {"GET", "HEAD"},
            f"{BELOW}/connect/web1": {"GET", "HEAD"},
            JOBS: {"GET", "HEAD", "POST"},
            f"{JOBS}/{'0' * 32}": {"GET", "HEAD"},
            f"{JOBS}/{'0' * 32}/output/web1/stdout": {"GET", "HEAD"},
            STATES: {"GET", "HEAD"},
            f"{STATES}/web1": {"GET", "HEAD"},
            f"/organizations/{ORG}/clients": {"POST"},
        }
        for path, allowed in paths.items():
            for method in ("PATCH", "OPTIONS", "TRACE", "NONSENSE"):
                answer = await self.raw(method.encode(), path.encode())
                self.assertEqual(answer.refusal, (405, "Method not allowed."), (method, path))
                self.assertLessEqual(allowed, set(answer.headers["allow"].split(", ")), path)
                self.assertNotIn(method, answer.headers["allow"])
        self.assertEqual((await self.raw(b"POST", b"/pushy/_status")).headers["allow"], "GET, HEAD")

    async def test_a_method_that_is_no_text_is_refused(self) -> None:
        connection = await self.connect()
        connection.write(b"G\xffT /pushy/_status HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await connection.answer()
        self.assertIn(answer.status, (400, 405))
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_head_is_answered_as_get_without_the_body(self) -> None:
        for path in (STATES, JOBS):
            whole = await self.get(path)
            connection = await self.connect()
            connection.write(head(b"HEAD", path.encode(), self.signed("HEAD", path) | {"Host": self.host}, None))
            received = await connection.until(lambda received: b"\r\n\r\n" in received)
            first, _, rest = received.partition(b"\r\n\r\n")
            self.assertEqual(first.split(b"\r\n")[0], b"HTTP/1.1 200 OK")
            self.assertIn(f"Content-Length: {len(whole.body)}".encode(), first.title())
            self.assertEqual(rest, b"")
        self.assertEqual((await self.call("HEAD", STATES, key=key_of("rita"))).status, 401)


class AcceptTests(ApiTestCase):
    async def statuses(self, path: str, accept: str, **how: str) -> int:
        return (await self.get(path, headers={"Accept": accept}, **how)).status

    async def test_json_is_what_there_is(self) -> None:
        for accept in (
            "application/json",
            "APPLICATION/JSON",
            "*/*",
            "application/*",
            "text/html, application/json;q=0.9, */*;q=0.1",
            "application/json; charset=utf-8",
            "",
        ):
            self.assertEqual(await self.statuses(STATES, accept), 200, accept)

    async def test_who_takes_no_json_is_told_so_in_json(self) -> None:
        for accept in ("text/html", "application/xml", "application/octet-stream", "application/json;q=0", "text/*"):
            answer = await self.get(STATES, headers={"Accept": accept})
            self.assertEqual(answer.refusal, (406, "Not acceptable; this is application/json."), accept)

    async def test_output_is_bytes(self) -> None:
        path = f"{JOBS}/{'0' * 32}/output/web1/stdout"
        for accept, status in (("application/octet-stream", 404), ("*/*", 404), ("application/json", 406)):
            self.assertEqual(await self.statuses(path, accept), status, accept)


class SizeTests(ApiTestCase):
    async def test_the_largest_body_is_read(self) -> None:
        for chunked in (False, True):
            answer = await self.send_chunks([b" " * 500_000] * 2, chunked=chunked)
            self.assertEqual(answer.status, 400)
            self.assertIn("invalid JSON", answer.refusal[1])

    async def test_one_byte_more_is_refused(self) -> None:
        for chunked in (False, True):
            answer = await self.send_chunks([b" " * 500_000, b" " * 500_001], chunked=chunked)
            self.assertEqual((answer.status, answer.error), (413, TOO_LARGE))

    async def test_it_is_refused_before_a_byte_of_it_is_sent(self) -> None:
        for length in (1_000_001, 10**15):
            connection = await self.connect()
            connection.write(head(b"POST", JOBS.encode(), {"Host": self.host}, length))
            answer = await connection.answer()
            self.assertEqual((answer.status, answer.error), (413, TOO_LARGE))
            self.assertEqual(answer.headers["connection"], "close")

    async def test_who_asks_whether_to_send_it_is_told_not_to(self) -> None:
        connection = await self.connect()
        headers = {"Host": self.host, "Expect": "100-continue"}
        connection.write(head(b"POST", JOBS.encode(), headers, 1_000_001))
        self.assertEqual((await connection.answer()).status, 413)
        connection.write(b"x" * 1_000_001)
        await connection.closed
        self.assertEqual(connection.received, b"", "an invitation to go on")

    async def test_who_asks_whether_to_send_less_is_told_to(self) -> None:
        body = b'{"command":"true","nodes":["web1"]}'
        headers = {**self.signed("POST", JOBS, body=body), "Host": self.host, "Expect": "100-continue"}
        connection = await self.connect()
        connection.write(head(b"POST", JOBS.encode(), headers, len(body)))
        self.assertEqual((await connection.answer()).status, 100)
        connection.write(body)
        self.assertEqual((await connection.answer()).status, 201)

    async def test_a_body_without_an_end_is_cut_off_and_nobody_else_is(self) -> None:
        other, endless = await self.connect(), await self.connect()
        other.write(head(b"POST", JOBS.encode(), {"Host": self.host}, 10), b"{")
        endless.write(
            head(b"POST", JOBS.encode(), {"Host": self.host, "Transfer-Encoding": "chunked"}, None),
            _chunk(b"x" * 1_000_001),
        )
        self.assertEqual((await endless.answer()).status, 413)
        while not endless.closed.called:
            endless.write(_chunk(b"x" * 1_000_000))
            # The connection is served in between, for this answer comes over the same reactor.
            self.assertEqual((await self.get("/pushy/_status", by=None)).status, 200)
        other.write(b'"a":123}}')
        self.assertEqual((await other.answer()).status, 400)

    async def test_a_connection_is_used_again_after_any_answer_but_that(self) -> None:
        connection = await self.connect()
        for target, status in (("/pushy/_status", 200), ("/nowhere", 404), (STATES, 400)):
            connection.write(head(b"GET", target.encode(), {"Host": self.host}, None))
            self.assertEqual((await connection.answer()).status, status)

    async def test_requests_in_a_row_are_answered_in_their_order(self) -> None:
        connection = await self.connect()
        connection.write(
            head(b"GET", STATES.encode(), self.signed("GET", STATES) | {"Host": self.host}, None),
            head(b"GET", b"/nowhere", {"Host": self.host}, None),
            head(b"POST", JOBS.encode(), {"Host": self.host}, 1_000_001),
        )
        self.assertEqual([(await connection.answer()).status for _ in range(3)], [200, 404, 413])

    async def send_chunks(self, chunks: Sequence[bytes], *, chunked: bool) -> Answer:
        """A signed request with a body that is sent in pieces."""
        connection = await self.connect()
        body = b"".join(chunks)
        headers = self.signed("POST", JOBS, body=body) | {"Host": self.host}
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
        connection.write(head(b"POST", JOBS.encode(), headers, None if chunked else len(body)))
        for chunk in chunks:
            connection.write(_chunk(chunk) if chunked else chunk)
        if chunked:
            connection.write(b"0\r\n\r\n")
        return await connection.answer()


class FaultTests(ApiTestCase):
    """A handler that raises, or whose caller goes away."""

    def make_api(self, **offered: object) -> Api:
        api = super().make_api(**offered)
        self.reached: Deferred[None] = Deferred()
        self.gate: Deferred[None] = Deferred()
        self.ended: Deferred[object] = Deferred()

        async def fail(call: Call) -> Response:
            raise RuntimeError("the password is secret")

        async def wait(call: Call) -> Response:
            self.reached.callback(None)
            try:
                await self.gate
            finally:
                self.ended.callback(None)
            return json_response({})

        api.route("GET", "pushy/fail", fail, right=None)
        api.route("GET", "pushy/wait", wait, right=None)
        return api

    async def test_what_nobody_expected_is_logged_under_an_id_and_only_the_id_is_told(self) -> None:
        answer = await self.get(f"{BELOW}/fail")
        status, text = answer.refusal
        self.assertEqual(status, 500)
        self.assertRegex(text, r"^Internal error; the server's log has it as incident [0-9a-f]{12}\.$")
        (failure,) = self.flushLoggedErrors(RuntimeError)
        self.assertEqual(str(failure.value), "the password is secret")
        for secret in (b"password", b"Traceback", b"RuntimeError"):
            self.assertNotIn(secret, answer.body)

    async def test_the_id_is_in_the_log(self) -> None:
        with self.logged() as events:
            (text,) = (await self.get(f"{BELOW}/fail")).error
        self.flushLoggedErrors(RuntimeError)
        incident = text.removesuffix(".").rpartition(" ")[2]
        self.assertEqual(texts(events, "critical"), [f"A request failed (incident {incident})"])

    async def test_who_goes_away_ends_what_was_waited_for_without_a_word(self) -> None:
        connection = await self.connect()
        path = f"{BELOW}/wait"
        connection.write(head(b"GET", path.encode(), self.signed("GET", path) | {"Host": self.host}, None))
        await self.reached
        connection.transport.loseConnection()
        await self.ended
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_a_database_that_is_away_is_no_incident(self) -> None:
        await self.store.close()
        with self.logged() as events:
            answer = await self.get(STATES)
        self.assertEqual(answer.status, 503)
        self.assertEqual(self.flushLoggedErrors(), [])
        # A stranger has got this far: what the driver says (hosts, names) is for the log.
        self.assertEqual(answer.error, ["The server cannot reach its database. Try again."])
        self.assertIn("the store is not open", "\n".join(texts(events, "error")))


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
