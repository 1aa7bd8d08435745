"""Signed requests: the original library's vectors, everything that can be wrong with one, and hostile headers."""

from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from attrs import evolve, field, frozen
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from pushy_protocol.http_signing import ALLOWED_SKEW, MalformedSigning, SigningError, canonical_path, parse, sign
from pushy_protocol.timestamps import parse_iso8601
from tests.pushy_protocol.vectors import load, other_key, vector_key

VERSIONS = ("1.0", "1.1", "1.3")
NOW = parse_iso8601("2026-01-31T12:00:00Z")
REQUIRED = ("X-Ops-Sign", "X-Ops-UserId", "X-Ops-Timestamp", "X-Ops-Content-Hash")


@frozen(kw_only=True)
class Request:
    """A request as a receiver has it: header names in lower case."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]
    keys: list[RSAPublicKey] = field(factory=lambda: [vector_key().public_key()])

    def with_header(self, name: str, value: str | None) -> "Request":
        others = {key: text for key, text in self.headers.items() if key != name.lower()}
        return evolve(self, headers=others if value is None else others | {name.lower(): value})

    def verify(self, now: float = NOW) -> RSAPublicKey:
        """All the checks, in the order of the contract."""
        signed = parse(self.headers)
        signed.check_content(self.body)
        signed.check_clock(now)
        return signed.check_signature(method=self.method, path=self.path, public_keys=self.keys)

    def refusal(self, now: float = NOW) -> tuple[int, str]:
        """Status and text with which it is refused."""
        with pytest.raises(SigningError) as caught:
            self.verify(now)
        return caught.value.status, str(caught.value)


def lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def of_vector(vector: dict[str, Any]) -> Request:
    # The vectors list what the library added; the version of the API is the client's own header.
    headers = lower(vector["headers"]) | {"x-ops-server-api-version": vector["server_api_version"]}
    return Request(method=vector["method"], path=vector["path"], body=vector["body"].encode(), headers=headers)


def signed_by_us(
    version: str = "1.3",
    *,
    method: str = "POST",
    path: str = "/organizations/acme/pushy/jobs",
    body: bytes = b"{}",
    user: str = "alice",
    key: RSAPrivateKey | None = None,
) -> Request:
    key = key or vector_key()
    headers = sign(private_key=key, user=user, method=method, path=path, body=body, now=NOW, version=version)
    return Request(method=method, path=path, body=body, headers=lower(headers), keys=[key.public_key()])


VECTORS = load("http_signing")["vectors"]
each_vector = pytest.mark.parametrize(
    "vector", VECTORS, ids=[f"{v['version']}-{v['method']}-{v['path']}-{v['user']}" for v in VECTORS]
)
each_version = pytest.mark.parametrize("version", VERSIONS)


def test_the_vectors_cover_every_version() -> None:
    assert {vector["version"] for vector in VECTORS} == set(VERSIONS)


@each_vector
def test_a_vector_verifies(vector: dict[str, Any]) -> None:
    assert of_vector(vector).verify() == vector_key().public_key()


@each_vector
def test_we_sign_as_the_original_does(vector: dict[str, Any]) -> None:
    ours = sign(
        private_key=vector_key(),
        user=vector["user"],
        method=vector["method"],
        path=vector["path"],
        body=vector["body"].encode(),
        now=parse_iso8601(vector["timestamp"]),
        version=vector["version"],
        server_api_version=vector["server_api_version"],
    )
    assert lower(ours) == lower(vector["headers"]) | {"x-ops-server-api-version": vector["server_api_version"]}


def changes_of(request: Request) -> Iterator[tuple[str, Request]]:
    """A request with one thing changed, for every thing; none of them may verify."""
    yield "method", evolve(request, method="PUT")
    yield "path", evolve(request, path=request.path + "/x")
    yield "body", evolve(request, body=request.body + b" ")
    yield "key", evolve(request, keys=[other_key().public_key()])
    yield "no key", evolve(request, keys=[])
    yield "user", request.with_header("X-Ops-UserId", "mallory")
    yield "user's case", request.with_header("X-Ops-UserId", request.headers["x-ops-userid"].upper())
    yield "timestamp", request.with_header("X-Ops-Timestamp", "2026-01-31T12:00:01Z")
    yield "hash of another body", request.with_header("X-Ops-Content-Hash", b64encode(bytes(20)).decode())
    for version in VERSIONS:
        if f"version={version}" not in request.headers["x-ops-sign"]:
            yield f"version {version}", request.with_header("X-Ops-Sign", f"version={version}")
    if "version=1.3" in request.headers["x-ops-sign"]:
        yield "version of the API", request.with_header("X-Ops-Server-API-Version", "7")
    for name in REQUIRED:
        yield f"no {name}", request.with_header(name, None)
        yield f"empty {name}", request.with_header(name, "")
    yield from changes_of_lines(request)


def changes_of_lines(request: Request) -> Iterator[tuple[str, Request]]:
    names = sorted(name for name in request.headers if name.startswith("x-ops-authorization-"))
    lines = [request.headers[name] for name in names]
    for number, (name, line) in enumerate(zip(names, lines, strict=True), 1):
        yield f"no line {number}", request.with_header(name, None)
        yield f"empty line {number}", request.with_header(name, "")
        yield f"line {number} doubled", request.with_header(name, line + line)
        yield f"line {number} cut", request.with_header(name, line[:-1])
        for place in (0, len(line) // 2):
            other = "A" if line[place] != "A" else "B"
            yield (
                f"line {number} changed at {place}",
                request.with_header(name, line[:place] + other + line[place + 1 :]),
            )
        if number < len(lines):
            swapped = request.with_header(name, lines[number]).with_header(names[number], line)
            yield f"lines {number} and {number + 1} swapped", swapped
    yield "a line more", request.with_header(f"X-Ops-Authorization-{len(lines) + 1}", "AAAA")
    yield (
        "lines from 2",
        evolve(
            request.with_header(names[0], None),
            headers={key: text for key, text in request.headers.items() if key not in names}
            | {f"x-ops-authorization-{number}": line for number, line in enumerate(lines, 2)},
        ),
    )
    without = {key: text for key, text in request.headers.items() if key not in names}
    yield "no line at all", evolve(request, headers=without)
    # The last character before the padding has bits that do not count.
    spare = lines[-1].rstrip("=")
    neighbour = chr(ord(spare[-1]) + 1)
    yield "spare bits", request.with_header(names[-1], spare[:-1] + neighbour + lines[-1][len(spare) :])


@each_vector
def test_every_change_of_a_vector_fails(vector: dict[str, Any]) -> None:
    passed = []
    for what, changed in changes_of(of_vector(vector)):
        try:
            changed.verify()
        except SigningError:
            continue
        passed.append(what)
    assert passed == []


@each_vector
def test_the_version_of_the_api_is_signed_in_1_3_only(vector: dict[str, Any]) -> None:
    changed = of_vector(vector).with_header("X-Ops-Server-API-Version", "7")
    if vector["version"] == "1.3":
        assert changed.refusal() == (401, f"Invalid signature for user or client '{vector['user']}'")
    else:
        changed.verify()


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_version_of_the_api_it_is_0(value: str | None) -> None:
    signed_by_us("1.3").with_header("X-Ops-Server-API-Version", value).verify()


class TestRefusals:
    """The texts and statuses of the contract's table, as far as a signature decides them."""

    @pytest.mark.parametrize("value", [None, ""])
    @pytest.mark.parametrize("name", REQUIRED)
    def test_a_required_header_is_missing(self, name: str, value: str | None) -> None:
        expected = (400, f"missing required authentication header(s) '{name}'")
        assert signed_by_us().with_header(name, value).refusal() == expected

    def test_all_that_are_missing_are_named_in_order(self) -> None:
        expected = "missing required authentication header(s) 'X-Ops-Sign', 'X-Ops-UserId', 'X-Ops-Timestamp', "
        with pytest.raises(MalformedSigning) as caught:
            parse({})
        assert str(caught.value) == expected + "'X-Ops-Content-Hash'"

    @pytest.mark.parametrize(
        "description",
        [
            "version=1.2;",
            "algorithm=sha1;version=2.0;",
            "version=;",
            "algorithm=sha1;",
            "version",
            ";",
            "1.3",
            "algorithm=sha1;version=1.3;",
            "algorithm=sha256;version=1.0;",
            "algorithm=md5;version=1.1;",
            "VERSION=1.3;",
        ],
    )
    def test_the_version_is_unknown(self, description: str) -> None:
        refusal = signed_by_us().with_header("X-Ops-Sign", description).refusal()
        assert refusal == (400, "Unsupported authentication protocol version")

    @pytest.mark.parametrize(
        "timestamp",
        ["yesterday", "2026-01-31", "2026-01-31T12:00:00", "2026-01-31T12:00:00+00:00", "2026-13-01T00:00:00Z", "0"],
    )
    def test_the_timestamp_is_malformed(self, timestamp: str) -> None:
        refusal = signed_by_us().with_header("X-Ops-Timestamp", timestamp).refusal()
        assert refusal == (401, "bad header(s) 'X-Ops-Timestamp'")

    def test_the_timestamp_is_malformed_and_the_clock_is_looked_at_first(self) -> None:
        signed = parse(signed_by_us().with_header("X-Ops-Timestamp", "yesterday").headers)
        with pytest.raises(SigningError, match=r"^bad header\(s\) 'X-Ops-Timestamp'$"):
            signed.check_clock(NOW)

    @pytest.mark.parametrize("value", ["x", "=", "é", "2jmj7l5rSw0yVb/vlWAYkK/YBwk="])
    def test_the_content_hash_is_not_the_bodys(self, value: str) -> None:
        refusal = signed_by_us().with_header("X-Ops-Content-Hash", value).refusal()
        assert refusal == (401, "bad header(s) 'X-Ops-Content-Hash'")

    def test_both_are_named_where_both_are_wrong(self) -> None:
        request = signed_by_us().with_header("X-Ops-Timestamp", "x").with_header("X-Ops-Content-Hash", "y")
        assert request.refusal() == (401, "bad header(s) 'X-Ops-Timestamp', 'X-Ops-Content-Hash'")

    @pytest.mark.parametrize("user", ["a\x00b", "a\nb", "a\x7f", "\ud800", "a\u2028b"])
    def test_a_name_that_cannot_be_printed(self, user: str) -> None:
        refusal = signed_by_us().with_header("X-Ops-UserId", user).refusal()
        assert refusal == (401, "bad header(s) 'X-Ops-UserId'")

    @pytest.mark.parametrize("skew", [ALLOWED_SKEW, -ALLOWED_SKEW])
    def test_the_clock_may_be_off_by_15_minutes(self, skew: float) -> None:
        assert ALLOWED_SKEW == 900
        signed_by_us().verify(NOW + skew)
        refusal = signed_by_us().refusal(NOW + skew * 1.001)
        assert refusal == (401, "Failed to authenticate as alice. Synchronize the clock on your host.")

    def test_the_signature_is_wrong(self) -> None:
        refusal = signed_by_us().with_header("X-Ops-Authorization-1", "AAAA").refusal()
        assert refusal == (401, "Invalid signature for user or client 'alice'")

    @pytest.mark.parametrize("line", ["", "not base64", "é", "=", "A" * 5, "\ud800", "A" * 100_000])
    def test_the_signature_is_nothing_like_one(self, line: str) -> None:
        for version in VERSIONS:
            request = signed_by_us(version)
            bare = {key: text for key, text in request.headers.items() if "authorization" not in key}
            refusal = evolve(request, headers=bare | {"x-ops-authorization-1": line}).refusal()
            assert refusal == (401, "Invalid signature for user or client 'alice'")

    def test_what_is_missing_comes_before_what_is_wrong(self) -> None:
        wrong = signed_by_us().with_header("X-Ops-Sign", "version=9").with_header("X-Ops-Timestamp", None)
        assert wrong.refusal() == (400, "missing required authentication header(s) 'X-Ops-Timestamp'")

    def test_there_is_an_end_of_lines(self) -> None:
        endless = {f"x-ops-authorization-{number}": "AAAA" for number in range(1, 1000)}
        assert len(parse(signed_by_us().headers | endless).signature) < 1000


class TestSpellings:
    @each_version
    @pytest.mark.parametrize(
        "form",
        [
            "version={version}",
            "version={version};",
            "algorithm={algorithm};version={version}",
            "version={version};algorithm={algorithm};",
            " version={version} ; ; ",
        ],
    )
    def test_of_the_description(self, version: str, form: str) -> None:
        algorithm = "sha256" if version == "1.3" else "sha1"
        described = form.format(version=version, algorithm=algorithm)
        signed_by_us(version).with_header("X-Ops-Sign", described).verify()

    def test_ours_have_the_contracts_names(self) -> None:
        names = list(sign(private_key=vector_key(), user="a", method="GET", path="/", body=b"", now=NOW))
        numbered = [f"X-Ops-Authorization-{number}" for number in range(1, 7)]
        assert names == [*REQUIRED, "X-Ops-Server-API-Version", *numbered]

    def test_ours_sign_with_1_3(self) -> None:
        headers = sign(private_key=vector_key(), user="a", method="GET", path="/", body=b"", now=NOW)
        assert headers["X-Ops-Sign"] == "algorithm=sha256;version=1.3;"

    def test_lines_are_of_60_characters(self) -> None:
        headers = sign(private_key=vector_key(), user="a", method="GET", path="/", body=b"", now=NOW)
        assert [len(headers[f"X-Ops-Authorization-{number}"]) for number in range(1, 7)] == [60] * 5 + [44]

    @each_version
    def test_the_method_may_be_in_lower_case(self, version: str) -> None:
        evolve(signed_by_us(version, method="GET"), method="get").verify()

    def test_no_other_version_is_made(self) -> None:
        with pytest.raises(ValueError, match=r"version '1\.2': expected one of 1\.0, 1\.1, 1\.3"):
            sign(private_key=vector_key(), user="a", method="GET", path="/", body=b"", now=NOW, version="1.2")

    def test_1_0_has_no_room_for_every_name(self) -> None:
        signed_by_us("1.0", user="a" * 90)
        with pytest.raises(ValueError, match="too long"):
            signed_by_us("1.0", user="a" * 100)
        signed_by_us("1.1", user="a" * 255).verify()


class TestPaths:
    @pytest.mark.parametrize(
        ("path", "canonical"),
        [
            ("/", "/"),
            ("", "/"),
            ("//", "/"),
            ("/a", "/a"),
            ("/a/", "/a"),
            ("//a///b//", "/a/b"),
            ("/a?b=/c/", "/a"),
            ("/a/?b", "/a"),
            ("/?", "/"),
            ("/a//?x=//", "/a"),
            ("/a/../b", "/a/../b"),
            ("/a%2F%2Fb", "/a%2F%2Fb"),
            ("/ä", "/ä"),
        ],
    )
    def test_as_they_are_signed(self, path: str, canonical: str) -> None:
        assert canonical_path(path) == canonical
        assert canonical_path(canonical) == canonical

    @each_version
    def test_the_query_is_not_signed(self, version: str) -> None:
        evolve(signed_by_us(version), path="//organizations/acme/pushy//jobs/?include_file=true").verify()


class TestSeveralKeys:
    @each_version
    def test_the_one_that_fits_is_found_and_named(self, version: str) -> None:
        request, right = signed_by_us(version), vector_key().public_key()
        wrong = other_key().public_key()
        for keys in ([right], [right, wrong], [wrong, right], [wrong, wrong, right]):
            assert evolve(request, keys=keys).verify() == right

    @each_version
    def test_none_fits(self, version: str) -> None:
        request = evolve(signed_by_us(version), keys=[other_key().public_key()] * 2)
        assert request.refusal() == (401, "Invalid signature for user or client 'alice'")


PRINTABLE = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1)


@given(
    version=st.sampled_from(VERSIONS),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "get"]),
    path=st.text(st.characters(codec="utf-8")).map(lambda text: "/" + text),
    body=st.binary(),
    user=PRINTABLE.filter(lambda text: len(text.encode()) <= 80),
    api=st.sampled_from(["0", "1", "2"]),
)
@settings(max_examples=150, deadline=None)
def test_what_is_signed_verifies(version: str, method: str, path: str, body: bytes, user: str, api: str) -> None:
    headers = sign(
        private_key=vector_key(),
        user=user,
        method=method,
        path=path,
        body=body,
        now=NOW,
        version=version,
        server_api_version=api,
    )
    Request(method=method, path=path, body=body, headers=lower(headers)).verify()


@given(
    version=st.sampled_from(VERSIONS),
    first=st.tuples(st.sampled_from(["GET", "POST"]), st.text("/ab?", max_size=5), st.text("ab:\n", min_size=1)),
    second=st.tuples(st.sampled_from(["GET", "POST"]), st.text("/ab?", max_size=5), st.text("ab:\n", min_size=1)),
)
@settings(max_examples=150, deadline=None)
def test_a_signature_is_for_one_request(
    version: str, first: tuple[str, str, str], second: tuple[str, str, str]
) -> None:
    request = signed_by_us(version, method=first[0], path=first[1], user=first[2])
    signed = parse(request.with_header("X-Ops-UserId", second[2]).headers)
    same = (first[0], canonical_path(first[1]), first[2]) == (second[0], canonical_path(second[1]), second[2])

    def check() -> RSAPublicKey:
        return signed.check_signature(method=second[0], path=second[1], public_keys=request.keys)

    assert succeeds(check) is same


def succeeds(check: Callable[[], object]) -> bool:
    try:
        check()
    except SigningError:
        return False
    return True


# Also what no server ever passes on: halves of surrogates, control characters.
ANYTHING = st.one_of(st.text(), st.text(st.characters(categories=["Cs", "Cc", "Nd"])), st.just("9" * 20_000))
NAMES = [*REQUIRED, "X-Ops-Server-API-Version", "X-Ops-Authorization-1", "X-Ops-Authorization-2"]


@given(
    changed=st.dictionaries(st.sampled_from([name.lower() for name in NAMES]), ANYTHING),
    version=st.sampled_from(VERSIONS),
    method=ANYTHING,
    path=ANYTHING,
    body=st.binary(),
)
@settings(max_examples=300, deadline=None)
def test_hostile_requests_only_raise_signing_errors(
    changed: dict[str, str], version: str, method: str, path: str, body: bytes
) -> None:
    request = signed_by_us(version)
    hostile = evolve(request, method=method, path=path, body=body, headers=request.headers | changed)
    with pytest.raises(SigningError) as caught:
        hostile.verify()
    assert str(caught.value).encode()  # what is answered can be written
    try:
        signed = parse(hostile.headers)
    except SigningError:
        return
    # The checks hold out in any order.
    assert not succeeds(lambda: signed.check_signature(method=method, path=path, public_keys=hostile.keys))
    succeeds(lambda: signed.check_clock(NOW))
