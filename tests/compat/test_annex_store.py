"""The annex store beside the real git-annex: on one repository, at the same time."""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pannex.keys.key import Key
from p2pannex.service import Lock, Upload
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.testing.samples import fetch, store
from tests.compat.annex_environment import AnnexEnvironment, SshServer

pytestmark = pytest.mark.compat

CONTENT = b"some content\n" * 1000
KEY = Key(b"SHA256-s%d--%b" % (len(CONTENT), hashlib.sha256(CONTENT).hexdigest().encode()))
HALF = len(CONTENT) // 2


class Talk:
    """A conversation with git-annex-shell."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.line()

    def line(self) -> bytes:
        """The next line; empty when git-annex-shell has ended."""
        assert self.process.stdout is not None
        line = b""
        while not line.endswith(b"\n") and (byte := os.read(self.process.stdout.fileno(), 1)):
            line += byte
        return line

    def say(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    def ask(self, data: bytes) -> bytes:
        self.say(data)
        return self.line()

    def end(self) -> None:
        """Close our end, and wait until it has done what it does then."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


class Repository:
    """A git-annex repository of the real program's."""

    def __init__(self, environment: AnnexEnvironment, *options: str) -> None:
        self.environment = environment
        self.path = environment.repository("repository", *options)
        self.uuid = environment.uuid(self.path)
        self.git_dir = self.path if options else self.path / ".git"

    @contextlib.contextmanager
    def talk(self) -> Iterator[Talk]:
        with subprocess.Popen(
            ["git-annex-shell", "p2pstdio", self.path, "c1c1c1c1-2222-4333-8444-555555555555"],
            env=self.environment.variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        ) as process:
            try:
                yield Talk(process)
            finally:
                process.kill()

    def removed_by_git_annex(self) -> bool:
        """Have git-annex remove the content. When it may not, it goes without an answer."""
        with self.talk() as talk:
            answer = talk.ask(b"REMOVE %b\n" % KEY.raw)
            talk.end()
        assert answer in (b"SUCCESS\n", b""), answer
        return answer == b"SUCCESS\n"

    def annex(self, *words: str, check: bool = True) -> str:
        return self.environment.run("git", "annex", *words, cwd=self.path, check=check).stdout

    def whereis(self) -> bool:
        """Whether git-annex thinks that the content is here."""
        return self.uuid in self.annex("whereis", "--key", str(KEY), check=False)

    def object(self, key: Key) -> Path:
        """Where the content is, in a bare repository."""
        name = os.fsdecode(key.file_name)
        return self.git_dir / "annex/objects" / os.fsdecode(key.hashdir_lower) / name / name

    def listed(self, asked: Path | None = None) -> set[str]:
        """The keys whose content git-annex thinks is here. It is asked here, or in a clone."""
        done = self.environment.run(
            "git", "annex", "whereis", "--all", "--json", cwd=asked or self.path, check=False
        ).stdout
        listed = [json.loads(line) for line in done.splitlines()]
        return {each["key"] for each in listed if any(place["uuid"] == self.uuid for place in each["whereis"])}

    def nothing_to_complain_of(self) -> None:
        for line in self.annex("fsck", "--all", "--json", "--json-error-messages", check=False).splitlines():
            checked = json.loads(line)
            messages = checked["error-messages"]
            nowhere = bool(messages) and all("No known copies exist" in message for message in messages)
            assert checked["success"] or nowhere, line
            assert "fixing location log" not in line
        annex = self.git_dir / "annex"
        files = [path for path in annex.rglob("*") if path.is_file()]
        strays = [path for path in files if path.suffix in (".lck", ".rtm", ".rtl") and "objects" in path.parts]
        for directory in ("tmp", "journal", "transfer"):
            strays += [path for path in files if annex / directory in path.parents]
        assert strays == []


@pytest.fixture(params=["bare", "with a work tree"])
def repository(request: pytest.FixtureRequest, annex_env: AnnexEnvironment) -> Repository:
    return Repository(annex_env, *(["--bare"] if request.param == "bare" else []))


async def locked(one: AnnexStore) -> Lock:
    return await one.lock(KEY)


# One after the other ---------------------------------------------------------------------------------------------


async def test_git_annex_knows_what_we_store_and_remove(repository: Repository) -> None:
    async with AnnexStore(repository.path) as one:
        await store(one, CONTENT, KEY)
        assert repository.whereis()
        with repository.talk() as talk:
            assert talk.ask(b"CHECKPRESENT %b\n" % KEY.raw) == b"SUCCESS\n"
            talk.end()
    repository.nothing_to_complain_of()
    assert repository.whereis()
    async with AnnexStore(repository.path) as one:
        assert (await one.remove(KEY)).ok
        assert not repository.whereis()
    repository.nothing_to_complain_of()
    assert not repository.whereis()


async def test_we_know_what_git_annex_stores_and_removes(repository: Repository) -> None:
    async with AnnexStore(repository.path) as one:
        with repository.talk() as talk:
            assert talk.ask(b"PUT  %b\n" % KEY.raw) == b"PUT-FROM 0\n"
            assert talk.ask(b"DATA %d\n%b" % (len(CONTENT), CONTENT)) == b"SUCCESS\n"
            talk.end()
        assert await fetch(one, KEY) == CONTENT
        assert repository.removed_by_git_annex()
        assert not await one.check_present(KEY)
        await store(one, CONTENT, KEY)
        assert repository.removed_by_git_annex()
    repository.nothing_to_complain_of()


async def test_git_annex_goes_on_with_our_partial_content(repository: Repository) -> None:
    async with AnnexStore(repository.path) as one:
        upload = await one.put(KEY)
        assert isinstance(upload, Upload)
        async with upload:
            await upload.begin(len(CONTENT))
            await upload.send_all(memoryview(CONTENT)[:HALF])
    with repository.talk() as talk:
        assert talk.ask(b"PUT  %b\n" % KEY.raw) == b"PUT-FROM %d\n" % HALF
        assert talk.ask(b"DATA %d\n%b" % (len(CONTENT) - HALF, CONTENT[HALF:])) == b"SUCCESS\n"
        talk.end()
    repository.nothing_to_complain_of()


async def test_we_go_on_with_git_annexs_partial_content(repository: Repository) -> None:
    with repository.talk() as talk:
        assert talk.ask(b"PUT  %b\n" % KEY.raw) == b"PUT-FROM 0\n"
        talk.say(b"DATA %d\n%b" % (len(CONTENT), CONTENT[:HALF]))
        talk.end()
    async with AnnexStore(repository.path) as one:
        upload = await one.put(KEY)
        assert isinstance(upload, Upload)
        assert upload.offset == HALF
        async with upload:
            await upload.begin(len(CONTENT) - HALF)
            await upload.send_all(memoryview(CONTENT)[HALF:])
            await upload.finish(True)
        assert await fetch(one, KEY) == CONTENT
    assert repository.whereis()


# At the same time ------------------------------------------------------------------------------------------------


async def test_only_one_receives_content(repository: Repository) -> None:
    async with AnnexStore(repository.path) as one:
        upload = await one.put(KEY)
        assert isinstance(upload, Upload)
        async with upload:
            with repository.talk() as talk:
                talk.ask(b"PUT  %b\n" % KEY.raw)
                assert talk.ask(b"DATA %d\n%b" % (len(CONTENT), CONTENT)) == b"", "git-annex writes to our partial"
        with repository.talk() as talk:
            assert talk.ask(b"PUT  %b\n" % KEY.raw) == b"PUT-FROM 0\n"
            talk.say(b"DATA %d\n%b" % (len(CONTENT), CONTENT[:HALF]))
            partial = Path(os.fsdecode(one.layout.partial(KEY)))
            while not partial.exists():
                assert talk.process.poll() is None
            assert one.claim(KEY) is None, "we write to git-annex's"
            assert talk.ask(CONTENT[HALF:]) == b"SUCCESS\n"
            talk.end()
    repository.nothing_to_complain_of()


async def test_git_annex_does_not_remove_what_we_hold(repository: Repository) -> None:
    async with AnnexStore(repository.path) as one:
        await store(one, CONTENT, KEY)
        async with await locked(one):
            assert not repository.removed_by_git_annex()
            repository.annex("drop", "--force", "--key", str(KEY), check=False)
            assert await fetch(one, KEY) == CONTENT
        repository.nothing_to_complain_of()
        assert repository.removed_by_git_annex()


async def test_git_annex_does_not_remove_what_a_lost_client_of_ours_was_promised(repository: Repository) -> None:
    async with AnnexStore(repository.path) as one:
        await store(one, CONTENT, KEY)
        await (await locked(one)).aclose()
    assert not repository.removed_by_git_annex()
    async with AnnexStore(repository.path) as one:
        async with await locked(one):
            pass
        assert not repository.removed_by_git_annex(), "that other one was unlocked"
        assert await fetch(one, KEY) == CONTENT


async def test_git_annexs_own_unlock_does_not_end_it_either(repository: Repository) -> None:
    """As long as we go on: git-annex takes the time away when it can lock the content exclusively."""
    async with AnnexStore(repository.path) as one:
        await store(one, CONTENT, KEY)
        await (await locked(one)).aclose()
        with repository.talk() as talk:
            assert talk.ask(b"LOCKCONTENT %b\n" % KEY.raw) == b"SUCCESS\n"
            assert talk.ask(b"UNLOCKCONTENT\nCHECKPRESENT %b\n" % KEY.raw) == b"SUCCESS\n"
        assert not repository.removed_by_git_annex()
        assert not (await one.remove(KEY)).ok


async def test_we_do_not_remove_what_git_annex_holds(repository: Repository) -> None:
    async with AnnexStore(repository.path) as one:
        await store(one, CONTENT, KEY)
        with repository.talk() as talk:
            assert talk.ask(b"LOCKCONTENT %b\n" % KEY.raw) == b"SUCCESS\n"
            assert not (await one.remove(KEY)).ok
            assert talk.ask(b"UNLOCKCONTENT\nCHECKPRESENT %b\n" % KEY.raw) == b"SUCCESS\n"
            assert (await one.remove(KEY)).ok
        await store(one, CONTENT, KEY)
        with repository.talk() as talk:
            assert talk.ask(b"LOCKCONTENT %b\n" % KEY.raw) == b"SUCCESS\n"
            talk.process.send_signal(signal.SIGKILL)
            talk.process.wait()
        assert not (await one.remove(KEY)).ok, "its promise is for ten minutes"


async def test_one_of_two_lets_go(repository: Repository) -> None:
    async with AnnexStore(repository.path) as one:
        await store(one, CONTENT, KEY)
        with repository.talk() as talk:
            assert talk.ask(b"LOCKCONTENT %b\n" % KEY.raw) == b"SUCCESS\n"
            async with await locked(one):
                assert talk.ask(b"UNLOCKCONTENT\nCHECKPRESENT %b\n" % KEY.raw) == b"SUCCESS\n"
                assert not repository.removed_by_git_annex(), "we hold it"
                assert talk.ask(b"LOCKCONTENT %b\n" % KEY.raw) == b"SUCCESS\n"
            assert not (await one.remove(KEY)).ok, "git-annex holds it"
            assert not repository.removed_by_git_annex()


# Served by p2pannex-shell, over ssh ------------------------------------------------------------------------------


class Client:
    """A git-annex repository whose remote is another, served by p2pannex-shell."""

    def __init__(self, repository: Repository, sshd: SshServer) -> None:
        self.repository = repository
        self.environment = repository.environment
        self.path = self.environment.repository("client")
        self.git("remote", "add", "store", sshd.url(repository.path))
        self.git("config", "remote.store.annex-shell", "p2pannex-shell")
        self.git("config", "remote.store.annex-ssh-options", f"-F {sshd.config}")

    def git(self, *words: str) -> str:
        return self.environment.run("git", *words, cwd=self.path).stdout


@pytest.fixture
def client(repository: Repository, sshd: SshServer) -> Client:
    return Client(repository, sshd)


def test_everyday_work(client: Client) -> None:
    contents = {"small": b"hello", "empty": b"", "large": bytes(range(256)) * 20000}
    for name, content in contents.items():
        (client.path / name).write_bytes(content)
    client.git("annex", "add", "-q", ".")
    client.git("annex", "copy", "--to", "store", ".")
    assert client.git("config", "remote.store.annex-uuid").strip() == client.repository.uuid
    client.git("annex", "fsck", "--from", "store", ".")
    listed = client.repository.annex("whereis", "--all", check=False)
    assert listed.count(client.repository.uuid) == len(contents)
    client.git("annex", "drop", ".")
    client.git("annex", "get", ".")
    for name, content in contents.items():
        assert (client.path / name).read_bytes() == content
    client.git("annex", "drop", "--from", "store", "small")
    client.git("annex", "move", "--to", "store", "large")
    client.git("annex", "move", "--from", "store", "large")
    listed = client.repository.annex("whereis", "--all", check=False)
    assert listed.count(client.repository.uuid) == 1
    client.repository.nothing_to_complain_of()


def test_git_annex_tests_the_remote(client: Client) -> None:
    done = client.environment.run("git", "annex", "testremote", "store", cwd=client.path, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    match = re.search(r"All (\d+) tests passed", done.stdout)
    assert match is not None, done.stdout[-2000:]
    assert int(match[1]) >= 573
    client.repository.nothing_to_complain_of()
