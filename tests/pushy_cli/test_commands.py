"""The commands beyond the first ones, from the command line to the texts, against the double of the server."""

import json
import stat
from collections import deque
from typing import Any

import yaml

from pushy_cli.errors import NO_SERVER
from pushy_protocol.keys import public_pem
from tests.pushy_cli.push_server import JOB_ID, PRIVATE_KEY, Fault, Feed
from tests.pushy_cli.test_program import KEY, OLD_ID, WEB, ProgramTestCase

DONE = {"status": "complete", "nodes": {"succeeded": ["web1", "web2"], "failed": ["web3"]}}


class StartTests(ProgramTestCase):
    async def start(self, *arguments: str) -> list[str]:
        """The nodes of the job that was started."""
        result = await self.run_pushy("job", "start", "-b", *arguments)
        assert result.status == 0, result.err
        nodes: list[str] = self.server.jobs[JOB_ID].request["nodes"]
        return nodes

    async def test_nodes_that_are_meant(self) -> None:
        self.server.node_states = dict.fromkeys(["web10", "web9", "db1"], ("online", "available"))
        self.server.objects["nodes"] = {name: {"name": name} for name in ("c3", "a1", "b2")}
        file = self.home / "hosts"
        file.write_text("web1 web2 # the old ones\n\ndb[1-2]\n")
        for words, nodes in (
            (["web[08-10],db1"], ["db1", "web08", "web09", "web10"]),
            (["rack[1-2]-n[1-2]", "-x", "rack1-n2"], ["rack1-n1", "rack2-n1", "rack2-n2"]),
            (["web*", "-x", "web1?"], ["web9"]),
            ([f"@{file}", "-x", "db*"], ["web1", "web2"]),
            (["-s", "*:*"], ["a1", "b2", "c3"]),
            (["z", "-s", "name:a1"], ["z", "a1"]),
        ):
            assert await self.start("uptime", *words) == nodes

    async def test_nodes_that_are_none(self) -> None:
        for words, said in (
            (["web[1-"], "missing bracket"),
            (["web[1-999999999]"], "at most 100000 nodes"),
            (["@nosuchgroup"], "no such file or group"),
            (["@/nowhere"], "cannot be read"),
            (["w*"], "No node that the server has seen matches w*"),
            (["web1", "-x", "web*"], "all are excluded"),
            (["-s", "name:x"], "the search found none"),
            (["-s", "("], "invalid search query"),
            (["-q", "3", "web[1-4]", "-x", "web[1-2]"], "can never be reached by 2 nodes"),
        ):
            result = await self.run_pushy("job", "start", "uptime", *words)
            assert (result.status, result.out) == (2, ""), result
            assert said in result.err
        assert "POST jobs" not in self.server.requests

    async def test_nobody_can_be_asked(self) -> None:
        result = await self.run_pushy("job", "start", "uptime", "web[1-101]")
        self.assert_error(result, 2, "There is nobody to ask: Run 'uptime' on 101 nodes, web[1-101]")
        assert len(await self.start("--yes", "uptime", "web[1-101]")) == 101

    async def test_dry_run(self) -> None:
        self.server.node_states = {"web1": ("online", "available"), "web2": ("online", "unavailable")}
        result = await self.run_pushy("job", "start", "-n", "uptime", *WEB)
        assert result.status == 3
        assert result.out.splitlines()[1:] == [
            "  available    1  web1",
            "  unavailable  1  web2",
            "  offline      1  web3",
        ]
        result = await self.run_pushy("job", "start", "-n", "-q", "1", "-F", "json", "uptime", *WEB)
        assert result.status == 0
        assert json.loads(result.out)["nodes"] == {"available": ["web1"], "unavailable": ["web2"], "offline": ["web3"]}
        assert "POST jobs" not in self.server.requests

    async def test_by_its_feed(self) -> None:
        self.server.next_job = [DONE]
        votes = [("quorum_vote", {"node": node, "status": "success"}) for node in WEB]
        end = ("job_complete", {"status": "complete"})
        self.server.feeds[JOB_ID] = deque([Feed(events=(("start", {"node_count": 3}), *votes, end))])
        result = await self.run_pushy("job", "start", "uptime", *WEB)
        assert (result.status, result.err) == (1, "voting: 3 new\ncomplete: 3 ready\ncomplete: 2 succeeded, 1 failed\n")
        assert self.server.requests == ["POST jobs", f"GET job_status_feed/{JOB_ID}", f"GET jobs/{JOB_ID}"]

    async def test_quiet_and_knifes_meaning(self) -> None:
        self.server.next_job = [{"status": "complete", "nodes": {"succeeded": ["web1"], "unavailable": ["web2"]}}]
        self.server.node_states = dict.fromkeys(WEB, ("offline", "unavailable"))
        for options, status in (([], 1), (["--ok-if-quorum"], 0)):
            result = await self.run_pushy("job", "start", "--quiet", "uptime", "web1", "web2", *options)
            assert (result.status, result.err) == (status, "")
            assert result.out.startswith(f"Job {JOB_ID} is complete: 1 of 2 nodes")
        self.server.next_job = [{"status": "complete", "nodes": {"succeeded": ["web1"]}}]
        assert (await self.run_pushy("job", "start", "--quiet", "uptime", "web1")).out == ""
        del self.server.node_states["web2"]
        self.server.next_job = [{"status": "quorum_failed", "nodes": {"unavailable": WEB}}]
        result = await self.run_pushy("job", "start", "--quiet", "uptime", *WEB)
        assert result.err.startswith("The server has never seen web2: a misspelled name, or an agent")
        assert (await self.run_pushy("job", "start", "-F", "names", "uptime", "web1")).out == f"{JOB_ID}\n"


class JobTests(ProgramTestCase):
    def keep(self, job_id: str, state: dict[str, Any] = DONE, **request: Any) -> None:
        self.server.add_job(job_id, state, nodes=WEB, **request)

    async def test_list(self) -> None:
        ids = [f"{number:032x}" for number in range(250)]
        for job_id in ids:
            self.keep(
                job_id, {**DONE, "status": "aborted" if job_id.endswith("0") else "complete"}, command=job_id[-2:]
            )
        for arguments, expected in (
            (["--limit", "3"], ids[:-4:-1]),
            (["--status", "aborted", "--limit", "9"], [job_id for job_id in reversed(ids) if job_id.endswith("0")][:9]),
            (["--command", "f9"], [ids[0xF9]]),
            (["--since", "2012-09-05"], []),
            (["--since", "2012-09-04T23:00+00:00", "--limit", "1"], ids[-1:]),
            (["--node", "web2", "--limit", "2"], ids[:-3:-1]),
            (["--node", "db1", "--command", "01"], []),
            (["--limit", "1000"], ids[::-1]),
        ):
            for self.server.offers_more in (True, False):
                result = await self.run_pushy("job", "list", "-F", "names", *arguments)
                assert (result.status, result.out.split()) == (0, expected), arguments
        result = await self.run_pushy("job", "list", "--since", "2d")
        assert result.err == "There are no such jobs.\n"
        assert (await self.run_pushy("job", "list", "--since", "soon")).status == 2

    async def test_abort(self) -> None:
        self.keep("c" * 32, {"status": "running", "nodes": {"running": WEB}})
        result = await self.run_pushy("job", "abort", "last")
        assert (result.status, result.out) == (0, f"Job {'c' * 32} is being aborted. See: pushy job watch {'c' * 32}\n")
        self.keep(OLD_ID)
        self.assert_error(await self.run_pushy("job", "abort", OLD_ID), 1, "cannot be aborted: it is complete")
        self.assert_error(await self.run_pushy("job", "abort", "d" * 32), 1, "There is no job")
        self.server.offers_more = False
        self.assert_error(await self.run_pushy("job", "abort", OLD_ID), 1, "This server cannot abort jobs")

    async def test_rerun(self) -> None:
        self.keep(OLD_ID, env={"A": "1"}, user="me", run_timeout=7, capture_output=True, file="raw:x")
        assert (await self.run_pushy("job", "rerun", "-b", OLD_ID)).status == 0
        first = self.server.jobs[JOB_ID].request
        assert first == {
            "command": "uptime", "nodes": WEB, "env": {"A": "1"}, "user": "me", "run_timeout": 7,
            "capture_output": True, "file": "raw:x",
        }  # fmt: skip
        assert (await self.run_pushy("job", "rerun", "--failed", "-q", "100%", "-b", OLD_ID)).status == 0
        assert self.server.jobs[JOB_ID].request == {**first, "nodes": ["web3"], "quorum": 1}
        self.keep(OLD_ID, {"status": "complete", "nodes": {"succeeded": WEB}})
        self.assert_error(await self.run_pushy("job", "rerun", "--failed", OLD_ID), 2, "succeeded on all of its nodes")
        self.keep(OLD_ID, {**DONE, "file_specified": True})
        self.assert_error(await self.run_pushy("job", "rerun", OLD_ID), 2, "does not give the file")

    async def test_watch(self) -> None:
        self.keep(OLD_ID, capture_output=True)
        self.server.outputs["web1", "stdout"] = b"hi\n"
        result = await self.run_pushy("job", "watch", OLD_ID)
        assert result.status == 1
        assert result.out == (
            "---------------\nweb1\n---------------\nhi\n"
            f"Job {OLD_ID} is complete: 2 of 3 nodes succeeded.\n  succeeded  2  web[1-2]\n  failed     1  web3\n"
        )

    async def test_purge(self) -> None:
        self.keep(OLD_ID)
        self.assert_error(await self.run_pushy("job", "purge", "--before", "2026-01-31"), 2, "2026-01-31 00:00:00Z")
        result = await self.run_pushy("job", "purge", "--before", "30d", "--yes")
        assert (result.status, result.out) == (0, "Deleted 1 job.\n")
        self.server.offers_more = False
        self.assert_error(await self.run_pushy("job", "purge", "--before", "1h", "-y"), 1, "cannot delete jobs")

    async def test_output_in_other_forms(self) -> None:
        strange = {"succeeded": ["web1", "web2", ".x"]}
        self.keep(OLD_ID, {"status": "complete", "nodes": strange}, capture_output=True)
        self.server.outputs = {("web1", "stdout"): b"a\n", ("web2", "stdout"): b"a\n", (".x", "stdout"): b"b\xff"}
        result = await self.run_pushy("job", "output", OLD_ID, "-L")
        assert [line for line in result.out.splitlines() if line.startswith("web")] == ["web1", "web2"]
        result = await self.run_pushy("job", "output", OLD_ID, "--diff")
        assert "-a\n+b\udcff\n" in result.out
        assert (await self.run_pushy("job", "output", OLD_ID, "-F", "names")).out.split() == ["web1", "web2", ".x"]
        result = await self.run_pushy("job", "output", OLD_ID, "web1", "-F", "yaml")
        assert yaml.safe_load(result.out) == {"web1": {"stdout": "a\n"}}
        directory = self.home / "out"
        result = await self.run_pushy("job", "output", OLD_ID, "--to-dir", str(directory))
        assert result.out == "Wrote 3 files.\n"
        written = {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("std*")}
        assert written == {"web1/stdout": b"a\n", "web2/stdout": b"a\n", "%2Ex/stdout": b"b\xff"}
        result = await self.run_pushy("job", "output", OLD_ID, "--to-dir", str(self.home / "ca.pem"))
        self.assert_error(result, NO_SERVER, "cannot be written")


class NodeTests(ProgramTestCase):
    async def test_nodes(self) -> None:
        web1 = {
            "name": "web1", "chef_environment": "prod", "run_list": ["role[web]", "recipe[x]"],
            "automatic": {"platform": "debian", "platform_version": "12", "ipaddress": "10.0.0.1"},
        }  # fmt: skip
        self.server.objects["nodes"] = {"web1": web1, "old": {"name": "old"}}
        self.server.node_states = {"web1": ("online", "available"), "db1": ("offline", "unavailable")}
        assert (await self.run_pushy("node", "list")).out.split() == ["db1", "old", "web1"]
        result = await self.run_pushy("node", "search", "name:web1")
        assert result.out.splitlines() == [
            "NODE  ENVIRONMENT  PLATFORM   RUN LIST",
            "web1  prod         debian 12  role[web], recipe[x]",
        ]
        assert (await self.run_pushy("node", "search", "*:*", "-F", "names")).out.split() == ["old", "web1"]
        self.assert_error(await self.run_pushy("node", "search", "("), 2, "invalid search query")
        result = await self.run_pushy("node", "show", "web1")
        assert "Availability: available\nEnvironment:  prod\nRun list:     role[web], recipe[x]\n" in result.out
        result = await self.run_pushy("node", "show", "db1", "-F", "json")
        assert json.loads(result.out) == {"name": "db1", "push": {"status": "offline", "availability": "unavailable"}}
        self.assert_error(await self.run_pushy("node", "show", "ghost"), 1, "There is no node ghost")
        for words in (["db1", "ghost"], ["db1", *(f"web{n}" for n in range(1, 10))]):
            result = await self.run_pushy("node", "status", *words)
            assert result.err.startswith(f"The server has never seen {'ghost' if len(words) == 2 else 'web[2-9]'}: ")
        assert (await self.run_pushy("node", "status", "-s", "name:web1", "-F", "names")).out == "web1\n"
        result = await self.run_pushy("node", "status", "web[1-20]", "-F", "json")
        assert [state["status"] for state in json.loads(result.out)] == ["online"] + ["offline"] * 19

    async def test_an_original_server(self) -> None:
        self.server.offers_more = False
        self.server.node_states = {"web1": ("online", "available")}
        result = await self.run_pushy("node", "list")
        assert (result.status, result.out) == (0, "web1\n")
        assert "This server has no nodes" in result.err
        for command in (["node", "search", "*:*"], ["client", "list"], ["user", "list"], ["group", "list"]):
            self.assert_error(await self.run_pushy(*command), 1, "This server has no ")


class IdentityTests(ProgramTestCase):
    async def ok(self, *arguments: str) -> str:
        result = await self.run_pushy(*arguments)
        assert result.status == 0, result
        assert PRIVATE_KEY not in result.err
        return result.out

    async def test_clients(self) -> None:
        key = self.home / "web1.pem"
        assert await self.ok("client", "create", "web1") == f"Made the client web1; its private key is in {key}\n"
        assert key.read_text() == PRIVATE_KEY
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        self.assert_error(await self.run_pushy("client", "create", "web1"), NO_SERVER, "There is already a file")
        key.unlink()
        self.assert_error(await self.run_pushy("client", "create", "web1"), 1, "web1 already exists")
        assert not key.exists()
        assert await self.ok("client", "create", "web2", "--print-key") == PRIVATE_KEY
        public = self.home / "public.pem"
        public.write_text(public_pem(KEY.public_key()))
        assert await self.ok("client", "create", "web3", "--public-key", str(public)) == "Made the client web3.\n"
        result = await self.run_pushy("client", "create", "web4", "--public-key", str(self.home / ".pushy/credentials"))
        self.assert_error(result, NO_SERVER, "--public-key: ")
        assert await self.ok("client", "list") == "web1\nweb2\nweb3\n"
        assert await self.ok("client", "show", "web1") == "name:         web1\n"
        self.assert_error(await self.run_pushy("client", "delete", "web1"), 2, "Delete the client web1")
        await self.ok("client", "delete", "web1", "--yes")
        self.assert_error(await self.run_pushy("client", "show", "web1"), 1, "There is no client web1")

    async def test_users(self) -> None:
        path = self.home / "key"
        await self.ok("user", "create", "ann", "--key-file", str(path))
        assert path.read_text() == PRIVATE_KEY
        assert await self.ok("user", "list") == "ann\n"
        assert await self.ok("user", "remove", "ann") == "ann no longer belongs to the organization.\n"
        assert await self.ok("user", "list", "-F", "json") == "[]\n"
        await self.ok("user", "add", "ann")
        assert await self.ok("user", "list", "-F", "yaml") == "- ann\n"
        await self.ok("user", "delete", "ann", "-y")
        self.assert_error(await self.run_pushy("user", "show", "ann"), 1, "There is no user ann")

    async def test_groups(self) -> None:
        await self.ok("group", "create", "ops")
        out = await self.ok("group", "add", "ops", "--user", "bob", "--user", "ann", "--group", "admins")
        assert "users:        ann, bob\n" in out
        out = await self.ok("group", "remove", "ops", "--user", "ann", "-F", "json")
        assert json.loads(out)["users"] == ["bob"]
        result = await self.run_pushy("group", "remove", "ops", "--client", "web1")
        self.assert_error(result, 2, "The group ops has no clients web1")
        assert (await self.run_pushy("group", "add", "ops")).status == 2
        assert await self.ok("group", "list") == "ops\n"
        await self.ok("group", "delete", "ops", "--yes")


class ConfigTests(ProgramTestCase):
    async def test_check(self) -> None:
        result = await self.run_pushy("config", "check")
        assert result.status == 0
        assert [line.split()[:2] for line in result.out.splitlines()] == [
            ["settings", "ok"], ["name", "ok"], ["connection", "ok"], ["clock", "ok"], ["key", "ok"], ["reading", "ok"],
            ["starting", "ok"],
        ]  # fmt: skip
        other = str(self.home / ".pushy/other.pem")
        result = await self.run_pushy("config", "check", "--client-key", other, "-F", "json")
        assert result.status == NO_SERVER
        assert [finding["step"] for finding in json.loads(result.out) if finding["ok"] is False] == ["key"]
        self.server.forbidden.add("admin")
        result = await self.run_pushy("config", "check")
        assert "reading     FAILED" in result.out
        result = await self.run_pushy("config", "check", "--server-url", "https://nowhere.invalid/organizations/acme")
        assert "name        FAILED  nowhere.invalid has no address" in result.out

    async def test_init(self) -> None:
        key = str((self.home / ".pushy/admin.pem").rename(self.home / ".pushy/\U0001f511.pem"))
        new = self.home / "new/credentials"
        given = ["--server-url", self.url, "--client-name", "admin", "--ca-file", str(self.home / "ca.pem")]
        init = ["config", "init", "--credentials", str(new), *given]
        self.assert_error(await self.run_pushy(*init), 2, "--client-key is not given, and there is nobody to ask")
        result = await self.run_pushy(*init, "--client-key", key)
        assert (result.status, result.err) == (0, f"Wrote [default] to {new}\n")
        assert stat.S_IMODE(new.stat().st_mode) == 0o600
        assert "starting    ok" in result.out
        again = await self.run_pushy(*init, "--client-key", key)
        self.assert_error(again, NO_SERVER, "has a profile [default] already")
        assert (await self.run_pushy(*init, "--client-key", key, "--profile", "two")).status == 0
        result = await self.run_pushy("config", "show", "--credentials", str(new), "--profile", "two")
        assert f"Server:       {self.url}\nActing as:    admin\nKey:          {key}\n" in result.out

    async def test_fetch_ca(self) -> None:
        self.write_profile(ca_file=None)
        self.assert_error(await self.run_pushy("job", "list"), NO_SERVER, "signed by nobody who is trusted")
        result = await self.run_pushy("config", "fetch-ca")
        self.assert_error(result, 2, "There is nobody to ask")
        fingerprint = next(line.split()[1] for line in result.err.splitlines() if line.startswith("SHA-256:"))
        result = await self.run_pushy("config", "fetch-ca", "--fingerprint", f"00{fingerprint[2:]}")
        self.assert_error(result, NO_SERVER, "The fingerprint is another one")
        result = await self.run_pushy("config", "fetch-ca", self.url, "--fingerprint", fingerprint)
        assert result.status == 0, result.err
        assert result.out == f"Trusted from now on: {self.home / '.pushy/trusted_certs/127.0.0.1.pem'}\n"
        assert (await self.run_pushy("job", "list")).status == 0
        assert all("GET jobs" in asked for asked in self.server.requests)
        result = await self.run_pushy("config", "fetch-ca", "http://x")
        self.assert_error(result, NO_SERVER, "Expected https://HOST")


class CompletionTests(ProgramTestCase):
    async def test_scripts(self) -> None:
        for shell in ("bash", "zsh", "fish"):
            result = await self.run_pushy("completion", shell)
            assert "_PUSHY_COMPLETE" in result.out

    async def test_what_the_server_has(self) -> None:
        self.server.add_job(OLD_ID, DONE)
        self.server.node_states = dict.fromkeys(["web1", "web2", "db1"], ("online", "available"))
        for line, expected in (
            ("pushy job status ", ["last", OLD_ID]),
            ("pushy job start uptime we", ["web1", "web2"]),
            ("pushy job st", ["status", "start"]),
        ):
            words = line.split(" ")
            result = await self.program.run(
                COMP_WORDS=line, COMP_CWORD=str(len(words) - 1), _PUSHY_COMPLETE="bash_complete"
            )
            assert {word.partition(",")[2] for word in result.out.split()} == set(expected), result
        self.server.faults.append(Fault(status=500))
        result = await self.program.run(COMP_WORDS="pushy node show w", COMP_CWORD="3", _PUSHY_COMPLETE="bash_complete")
        assert (result.out.strip(), result.err) == ("", "")
