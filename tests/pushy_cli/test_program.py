"""The real program, against an honest double of the server: what is seen, what it exits with, what it sends."""

import json
import re
import socket
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from pushy_cli.errors import NO_SERVER
from pushy_protocol.keys import make_rsa_key, private_pem
from tests.pushy_cli.inprocess import InProcess
from tests.pushy_cli.program import Program, Result
from tests.pushy_cli.push_server import JOB_ID, Fault, PushServer, make_certificate

KEY = make_rsa_key()
OTHER_KEY = make_rsa_key()
WEB = ["web1", "web2", "web3"]
OLD_ID = "a" * 32

STARTED = f"Started. Job ID: {JOB_ID}\n"


def untimed(text: str) -> str:
    """Without the one thing that differs from run to run."""
    return re.sub(r", in \d+:\d\d", ", in 0:00", text)


class ProgramTestCase(TestCase):
    """A server with TLS, a profile for it, and the program."""

    timeout = 60
    server_name = "127.0.0.1"

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        self.home = Path(mkdtemp())
        self.addCleanup(rmtree, self.home)
        self.server = PushServer({"admin": KEY.public_key()})
        self.url = await self.server.listen(reactor, make_certificate(self.home, name=self.server_name))
        self.addCleanup(self.server.close)
        self.write_profile()
        self.program = Program(reactor, {"HOME": str(self.home)})
        self.pushy = InProcess(reactor, self.home, {"HOME": str(self.home)})

    def write_profile(self, **changed: str | None) -> None:
        profile = {
            "chef_server_url": self.url, "client_name": "admin", "client_key": "admin.pem", "ca_file": "../ca.pem"
        } | changed  # fmt: skip
        directory = self.home / ".pushy"
        directory.mkdir(exist_ok=True)
        (directory / "admin.pem").write_bytes(private_pem(KEY))
        (directory / "other.pem").write_bytes(private_pem(OTHER_KEY))
        lines = [f'{name} = "{value}"' for name, value in profile.items() if value is not None]
        (directory / "credentials").write_text("\n".join(["[default]", *lines]))

    async def run_pushy(self, *arguments: str, **environment: str) -> Result:
        result = await self.pushy.run(*arguments, **environment)
        assert "Traceback" not in result.err
        return result

    def assert_error(self, result: Result, status: int, what: str) -> None:
        assert result.status == status, result
        error, hint = result.err.strip().splitlines()[-2:]
        assert error.startswith("Error: ")
        assert what in error
        assert hint.startswith("Hint:  ")


class JobStartTests(ProgramTestCase):
    async def test_everything_succeeds(self) -> None:
        self.server.next_job = [
            {"status": "voting", "nodes": {"new": WEB}},
            {"status": "voting", "nodes": {"new": WEB}},
            {"status": "voting", "nodes": {"new": ["web3"], "ready": ["web1", "web2"]}},
            {"status": "running", "nodes": {"running": WEB}},
            {"status": "running", "nodes": {"running": ["web3"], "succeeded": ["web1", "web2"]}},
            {"status": "complete", "nodes": {"succeeded": WEB}},
        ]
        result = await self.run_pushy("job", "start", "--poll-interval", "0.01", "uptime", *WEB)
        assert result.status == 0
        assert untimed(result.out) == (
            f"{STARTED}Job {JOB_ID} is complete: 3 of 3 nodes succeeded, in 0:00.\n  succeeded  3  web[1-3]\n"
        )
        assert result.err == (
            "voting: 3 new\nrunning: 3 running\ncomplete: 3 succeeded\n"  # not each of a second's changes
        )
        assert self.server.jobs[JOB_ID].request == {"command": "uptime", "nodes": WEB}

    async def test_every_option_arrives(self) -> None:
        file = self.home / "file"
        file.write_text("hello")
        result = await self.run_pushy(
            *("job", "start", "chef-client", "-q", "50%", "--timeout", "7.5", "web1", "--capture", "--as-user", "me"),
            *("--in-dir", "/tmp", "web2", "--with-env", '{"A": "1"}', "--file", str(file), "-b", "web3", "--", "-n"),
        )
        assert (result.status, result.out, result.err) == (0, STARTED, "")
        assert self.server.jobs[JOB_ID].request == {
            "command": "chef-client", "nodes": [*WEB, "-n"], "quorum": 2, "run_timeout": 7.5, "capture_output": True,
            "user": "me", "dir": "/tmp", "env": {"A": "1"}, "file": "base64:aGVsbG8=",
        }  # fmt: skip
        assert self.server.requests == ["POST jobs"]

    async def test_output_is_grouped_and_the_summary_is_last(self) -> None:
        self.server.next_job = [
            {
                "status": "complete",
                "nodes": {"succeeded": ["web1", "web2"], "failed": ["web3"], "nacked": ["db1", "db2"]},
                "reasons": {"web3": "exit status 3", "db1": "not_whitelisted", "db2": "not_whitelisted"},
            }
        ]
        self.server.outputs = {
            ("web1", "stdout"): b"up 3 days\n", ("web2", "stdout"): b"up 3 days\n", ("web3", "stdout"): b"",
            ("web3", "stderr"): b"boom \xff\n",
        }  # fmt: skip
        result = await self.run_pushy("job", "start", "--capture", "uptime", *WEB, "db1", "db2")
        assert result.status == 1
        assert untimed(result.out) == (
            f"{STARTED}"
            "---------------\nweb[1-2] (2)\n---------------\nup 3 days\n"
            "---------------\nweb3 [stderr]\n---------------\nboom \udcff\n"
            f"Job {JOB_ID} is complete: 2 of 5 nodes succeeded, in 0:00.\n"
            "  succeeded  2  web[1-2]\n"
            "  failed     1  web3 (exit status 3)\n"
            "  nacked     2  db[1-2] (not_whitelisted)\n"
        )
        assert not [asked for asked in self.server.requests if "output/db" in asked]

    async def test_the_exit_status_tells_how_it_ended(self) -> None:
        for ended, nodes, status in (
            ("complete", {"unavailable": WEB}, 3),
            ("quorum_failed", {"was_ready": ["web1"], "nacked": ["web2"]}, 3),
            ("timed_out", {"timed_out": WEB}, 4),
            ("aborted", {"aborted": WEB}, 5),
        ):
            self.server.next_job = [{"status": ended, "nodes": nodes}]
            result = await self.run_pushy("job", "start", "uptime", *WEB)
            assert result.status == status, ended

    async def test_json_is_the_only_thing_on_stdout(self) -> None:
        self.server.next_job = [{"status": "complete", "nodes": {"succeeded": ["web1"]}}]
        self.server.outputs = {("web1", "stdout"): b"hi\xff"}
        result = await self.run_pushy("-F", "json", "job", "start", "--capture", "uptime", "web1")
        job = json.loads(result.out)
        assert job["id"] == JOB_ID
        assert job["nodes"] == {"succeeded": ["web1"]}
        assert job["output"] == {"web1": {"stdout": "hi\ufffd"}}
        assert STARTED in result.err
        result = await self.run_pushy("job", "start", "-b", "-F", "json", "uptime", "web1")
        assert json.loads(result.out) == {"id": JOB_ID, "uri": f"{self.url}/pushy/jobs/{JOB_ID}"}

    async def test_a_server_that_goes_away_is_waited_for(self) -> None:
        self.server.next_job = [
            {"status": "running", "nodes": {"running": ["web1"]}},
            {"status": "complete", "nodes": {"succeeded": ["web1"]}},
        ]
        self.server.faults.extend([None, None, Fault(status=503), Fault(status=503), Fault(status=500)])
        result = await self.run_pushy("job", "start", "--poll-interval", "0.01", "uptime", "web1")
        assert result.status == 0
        lines = result.err.splitlines()
        assert len(lines) == 4
        assert lines[1].endswith("The job goes on without us; trying again for 10 minutes...")
        assert lines[2] == "The server answers again."

    async def test_output_that_cannot_be_read_does_not_hide_the_end(self) -> None:
        self.server.next_job = [{"status": "complete", "nodes": {"succeeded": ["web1"]}}]
        self.server.faults.extend([None, None, None, Fault(status=500), Fault(status=500)])
        result = await self.run_pushy("job", "start", "--capture", "uptime", "web1")
        assert result.status == 0
        assert "1 of 1 node succeeded" in result.out
        assert f"pushy job output {JOB_ID}" in result.err

    async def test_interrupted(self) -> None:
        self.server.next_job = [{"status": "running", "nodes": {"running": WEB}}]
        self.server.on_look = self.program.interrupt
        result = await self.program.run("job", "start", "uptime", *WEB)
        assert result.status == 130
        assert result.err.endswith(f"Job {JOB_ID} goes on without us.\nLook at it with: pushy job status {JOB_ID}\n")

    async def test_wrong_usage(self) -> None:
        for arguments, said in (
            (["uptime"], "Missing argument 'NODE...'"),
            (["-q", "5", "uptime", "web1"], "--quorum: 5 can never be reached by 1 node"),
            (["--with-env", "[]", "uptime", "web1"], "--with-env: expected a JSON object of strings"),
            (["--file", "/nowhere", "uptime", "web1"], "--file: /nowhere cannot be read"),
            (["--timeout", "0", "uptime", "web1"], "not a number of seconds greater than 0"),
            (["--timeout", "nan", "uptime", "web1"], "not a number of seconds greater than 0"),
            (["", "web1"], "command: "),
            (["uptime", ".."], "'..' is no name of a node"),
            (["--nonesuch", "uptime", "web1"], "No such option"),
        ):
            result = await self.run_pushy("job", "start", *arguments)
            assert (result.status, result.out) == (2, ""), arguments
            assert said in result.err
        assert self.server.requests == []


class TerminalTests(ProgramTestCase):
    def script(self) -> None:
        self.server.next_job = [
            {"status": "voting", "nodes": {"new": ["web1"], "ready": ["web2", "web3"]}},
            {"status": "running", "nodes": {"running": ["web1"], "succeeded": ["web2", "web3"]}},
            {"status": "complete", "nodes": {"succeeded": WEB}},
        ]

    async def test_one_line_is_redrawn(self) -> None:
        self.script()
        result = await self.program.run_on_terminal(
            "job", "start", "--poll-interval", "0.01", "uptime", *WEB, NO_COLOR="1"
        )
        assert result.status == 0
        assert result.frames[0] == STARTED
        assert result.frames[1] == "voting   0:00  ━━━━━━━━━━━━━┄┄┄┄┄┄┄  2/3  2 ready  1 new"
        assert result.frames[2] == "running  0:00  ━━━━━━━━━━━━━┄┄┄┄┄┄┄  2/3  2 succeeded  1 running"
        assert untimed(result.frames[-1]) == (
            f"Job {JOB_ID} is complete: 3 of 3 nodes succeeded, in 0:00.\n  succeeded  3  web[1-3]\n"
        )

    async def test_a_narrow_terminal_without_unicode(self) -> None:
        self.script()
        result = await self.program.run_on_terminal(
            *("job", "start", "--poll-interval", "0.01", "uptime", *WEB),
            width=40, LANG="C", LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0", NO_COLOR="1",
        )  # fmt: skip
        assert result.frames[2] == "running  0:00  2/3  2 succeeded"
        assert result.out.isascii()

    async def test_colours(self) -> None:
        self.script()
        result = await self.program.run_on_terminal("job", "start", "uptime", *WEB)
        assert "\x1b[32m2 succeeded\x1b[0m" in result.out
        result = await self.program.run_on_terminal("job", "start", "-b", "uptime", *WEB, TERM="dumb")
        assert "\x1b" not in result.out

    async def test_a_dumb_terminal_gets_lines(self) -> None:
        self.script()
        result = await self.program.run_on_terminal("job", "start", "uptime", *WEB, TERM="dumb")
        assert "\x1b" not in result.out
        assert "running: 2 succeeded, 1 running\r\n" in result.out

    async def test_output_cannot_control_the_terminal(self) -> None:
        self.server.add_job(OLD_ID, {"status": "complete", "nodes": {"succeeded": ["web1"]}}, capture_output=True)
        self.server.outputs = {("web1", "stdout"): b"\x1b]0;title\x07 \x1b[1mbold\x1b[0m \xff\n"}
        result = await self.program.run_on_terminal("job", "output", OLD_ID)
        assert "\\x1b]0;title\\x07 \x1b[1mbold\x1b[0m \\xff" in result.frames[-1]


class LookTests(ProgramTestCase):
    def keep(self) -> None:
        done = {"status": "complete", "nodes": {"succeeded": ["web1", "web2"], "failed": ["web3"]}}
        self.server.add_job("b" * 32, {"status": "quorum_failed", "nodes": {"unavailable": ["web1"]}}, command="first")
        self.server.add_job(OLD_ID, {**done, "reasons": {"web3": "signal 9"}}, capture_output=True)
        for node in WEB:
            self.server.outputs[node, "stdout"] = b"out\n"
        self.server.outputs["web3", "stderr"] = b"err \xff"

    async def test_status(self) -> None:
        self.keep()
        result = await self.run_pushy("job", "status", OLD_ID.upper())
        assert (result.status, result.err) == (0, "")
        assert result.out == (
            f"Job:          {OLD_ID}\nCommand:      uptime\nStatus:       complete since 2012-09-04 23:01:02Z\n"
            "Created:      2012-09-04 23:01:02Z\nRun timeout:  3600 s\nOutput:       captured\nNodes:        3\n"
            "  succeeded  2  web[1-2]\n  failed     1  web3 (signal 9)\n"
        )
        assert (await self.run_pushy("job", "status", "last")).out == result.out
        result = await self.run_pushy("job", "status", "last", "-F", "json")
        assert json.loads(result.out)["reasons"] == {"web3": "signal 9"}

    async def test_list(self) -> None:
        result = await self.run_pushy("job", "list")
        assert (result.status, result.out, result.err) == (0, "", "There are no jobs yet.\n")
        self.assert_error(await self.run_pushy("job", "status", "last"), 1, "There are no jobs yet")
        self.keep()
        result = await self.run_pushy("job", "list")
        assert result.status == 0
        assert result.out.splitlines() == [
            "ID                                STATUS         CREATED            COMMAND",
            f"{OLD_ID}  complete       2012-09-04 23:01Z  uptime",
            f"{'b' * 32}  quorum failed  2012-09-04 23:01Z  first",
        ]
        result = await self.run_pushy("job", "list", "-F", "json")
        assert [job["status"] for job in json.loads(result.out)] == ["complete", "quorum_failed"]

    async def test_output(self) -> None:
        self.keep()
        result = await self.run_pushy("job", "output", "last")
        assert (result.status, result.err) == (0, "")
        assert result.out == (
            "---------------\nweb[1-3] (3)\n---------------\nout\n"
            "---------------\nweb3 [stderr]\n---------------\nerr \udcff\n"
        )
        result = await self.run_pushy("job", "output", OLD_ID, "web2", "web1", "--channel", "stdout")
        assert result.out == "---------------\nweb[1-2] (2)\n---------------\nout\n"
        result = await self.run_pushy("job", "output", OLD_ID, "web3", "--channel", "stderr")
        assert result.out == "err \udcff"  # byte by byte, for a file
        result = await self.run_pushy("job", "output", OLD_ID, "web3", "-F", "json")
        assert json.loads(result.out) == {"web3": {"stdout": "out\n", "stderr": "err \ufffd"}}

    async def test_output_that_is_not_there(self) -> None:
        self.keep()
        result = await self.run_pushy("job", "output", "b" * 32)
        assert (result.status, result.out) == (0, "")
        assert "without --capture" in result.err
        self.server.outputs.clear()
        result = await self.run_pushy("job", "output", OLD_ID)
        assert (result.status, result.out, result.err) == (0, "", "There is no output.\n")
        self.assert_error(await self.run_pushy("job", "output", OLD_ID, "db1"), 1, "has no node db1")

    async def test_an_unknown_job(self) -> None:
        for command in ("status", "output"):
            self.assert_error(await self.run_pushy("job", command, "c" * 32), 1, f"There is no job {'c' * 32}")
        result = await self.run_pushy("job", "status", "../nodes")
        assert result.status == 2
        assert "is not 32 hexadecimal digits, nor 'last'" in result.err

    async def test_nodes(self) -> None:
        result = await self.run_pushy("node", "status")
        assert (result.status, result.out, result.err) == (0, "", "The server has not seen any node yet.\n")
        self.server.node_states = {"web10": ("online", "available"), "web9": ("online", "unavailable")}
        result = await self.run_pushy("node", "status")
        assert result.out.splitlines() == [
            "NODE   STATUS  AVAILABILITY", "web9   online  unavailable", "web10  online  available"
        ]  # fmt: skip
        result = await self.run_pushy("node", "status", "strange näme#", "-F", "json")
        assert json.loads(result.out) == [
            {"node_name": "strange näme#", "status": "offline", "availability": "unavailable"}
        ]

    async def test_verbose_shows_no_secrets(self) -> None:
        result = await self.run_pushy("-v", "job", "start", "-b", "--with-env", '{"TOKEN": "s3cret"}', "x", "web1")
        assert result.status == 0
        sent, got = result.err.splitlines()
        assert sent.startswith(f'> POST {self.url}/pushy/jobs {{"command": "x"')
        assert '"env": {"TOKEN": "(hidden)"}' in sent
        assert got.startswith('< 201 {"uri": "https://')
        result = await self.run_pushy("job", "status", "last", "-v")
        assert "s3cret" not in result.err + result.out


class ErrorTests(ProgramTestCase):
    async def test_not_reachable(self) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))  # bound but not listening, so that nobody else can
            url = f"https://127.0.0.1:{closed.getsockname()[1]}/organizations/acme"
            result = await self.run_pushy("job", "list", "--server-url", url)
        self.assert_error(result, NO_SERVER, "connection refused")
        result = await self.run_pushy("job", "list", "--server-url", "https://nowhere.invalid/organizations/acme")
        self.assert_error(result, NO_SERVER, "Cannot reach https://nowhere.invalid: its name is not known")

    async def test_no_answer(self) -> None:
        self.server.faults.append(Fault(status=0))
        result = await self.run_pushy("job", "list", "--request-timeout", "0.2")
        self.assert_error(result, NO_SERVER, "no answer within 0.2 s")
        self.server.faults.append(Fault(status=0))
        result = await self.run_pushy("job", "start", "uptime", "web1", "--request-timeout", "0.2")
        assert "may have been started nevertheless" in result.err

    async def test_credentials_that_are_not_accepted(self) -> None:
        result = await self.run_pushy("job", "list", "--client-key", str(self.home / ".pushy/other.pem"))
        self.assert_error(result, NO_SERVER, "does not accept 'admin' with the key of")
        assert "Invalid signature for user or client 'admin'" in result.err
        self.server.forbidden.add("admin")
        result = await self.run_pushy("job", "start", "uptime", "web1")
        self.assert_error(result, NO_SERVER, "does not allow this to 'admin'")

    async def test_a_certificate_that_is_not_trusted(self) -> None:
        self.write_profile(ca_file=None)
        self.assert_error(await self.run_pushy("job", "list"), NO_SERVER, "signed by nobody who is trusted")
        assert (await self.run_pushy("job", "list", PUSHY_CA_FILE=str(self.home / "ca.pem"))).status == 0
        self.write_profile(ca_file="admin.pem")
        self.assert_error(await self.run_pushy("job", "list"), NO_SERVER, "admin.pem has no certificate")
        self.write_profile(ca_file=None, ssl_verify_mode="verify_none")
        result = await self.run_pushy("job", "list")
        assert result.status == 0
        assert result.err.startswith("Warning: ssl_verify_mode is verify_none")
        assert self.server.requests == ["GET jobs", "GET jobs"]

    async def test_answers_that_are_errors(self) -> None:
        for fault, status, said in (
            (Fault(status=500), NO_SERVER, "is at fault: 500 Internal Server Error"),
            (Fault(status=400, body=b'{"error": ["nodes: expected a list"]}'), 2, "nodes: expected a list"),
            (Fault(status=201, body=b"<html>"), NO_SERVER, "is no push server"),
        ):
            self.server.faults.append(fault)
            self.assert_error(await self.run_pushy("job", "start", "uptime", "web1"), status, said)

    async def test_no_configuration(self) -> None:
        result = await self.program.run("job", "list", HOME=str(self.home / "nobody"))
        self.assert_error(result, NO_SERVER, "there is no chef_server_url in the profile [default]")

    async def test_a_reader_that_goes_away(self) -> None:
        self.server.add_job(OLD_ID, {"status": "complete"})
        result = await self.program.run_for_nobody("job", "list")
        assert (result.status, result.err) == (141, "")


class NameTests(ProgramTestCase):
    server_name = "elsewhere.example.com"

    async def test_a_certificate_for_another_name(self) -> None:
        self.assert_error(await self.run_pushy("job", "list"), NO_SERVER, "is for another name")
        assert self.server.requests == []


class HelpTests(TestCase):
    timeout = 60

    async def test_version(self) -> None:
        program = Program(reactor, {"HOME": "/nowhere"})
        result = await program.run("--version")
        assert re.fullmatch(r"pushy \d+\.\d+\.\d+\n", result.out)
        assert (await program.run("version")).out == result.out
        assert f"pushy {json.loads((await program.run('version', '-F', 'json')).out)['version']}\n" == result.out

    async def test_help(self) -> None:
        program = Program(reactor, {"HOME": "/nowhere"})
        for group in ([], ["job"], ["node"], ["job", "start"], ["job", "output"]):
            result = await program.run(*group, "--help")
            assert (result.status, result.err) == (0, "")
            assert result.out.startswith(f"Usage: {' '.join(['pushy', *group])} ")
        result = await program.run("job", "start", "--help")
        assert "  4    the job timed out\n" in result.out
        assert (await program.run()).status == 2
        assert (await program.run("nonesuch")).status == 2
