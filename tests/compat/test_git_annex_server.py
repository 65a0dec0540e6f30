"""Our client against the real git-annex-shell: every command at every version, over a pipe and over ssh."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from p2pannex.errors import ConnectionLost, RemoteError, Unsupported
from p2pannex.p2p.dial import open_process_peer
from p2pannex.p2p.peer import Peer
from p2pannex.p2p.remote import Remote, WrongRepository
from p2pannex.service import AlreadyHave, NotLocked, NotStored, Stored, Upload
from p2pannex.stores.directory import DirectoryStore
from p2pannex.testing.samples import key_of
from p2pannex.transfer.drop import remove_while_locked
from p2pannex.transfer.file_keys import key_for_file
from p2pannex.transfer.transfer import NotPresent, retrieve, send
from p2pannex.transports.process import ProcessEnded, Unreachable
from p2pannex.transports.pump import move
from p2pannex.urls import open_url
from tests.compat.annex_environment import AnnexEnvironment, SshServer

pytestmark = pytest.mark.compat

CLIENT = "c1c1c1c1-2222-4333-8444-555555555555"
HELLO = b"hello, world"
LARGE = bytes(range(256)) * 30_000


@pytest.fixture
def repository(annex_env: AnnexEnvironment) -> Path:
    return annex_env.repository("server")


@pytest.fixture(params=[0, 1, 2, 3, 4])
async def remote(
    annex_env: AnnexEnvironment, repository: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Remote]:
    argv = ["git-annex-shell", "p2pstdio", str(repository), CLIENT, "--uuid", annex_env.uuid(repository)]

    async def dial() -> Peer:
        return await open_process_peer(argv, env=annex_env.variables, capture_stderr=True)

    async with await Remote.open(dial, version=request.param, bypass=("b0b0b0b0-2222-4333-8444-555555555555",)) as it:
        yield it


@pytest.fixture
def version(remote: Remote, request: pytest.FixtureRequest) -> int:
    version = request.node.callspec.params["remote"]
    assert isinstance(version, int)
    return version


async def put(remote: Remote, content: bytes) -> Stored | NotStored:
    """All of some content, and nothing but."""
    upload = await remote.put(key_of(content), b"a file")
    assert isinstance(upload, Upload)
    async with upload:
        await upload.begin(len(content) - upload.offset)
        await upload.send_all(memoryview(content)[upload.offset :])
        return await upload.finish(True)


async def get(remote: Remote, content: bytes, offset: int = 0) -> tuple[bytes, bool]:
    """What the server sends of some content, and whether it says that it is good."""
    received = bytearray()

    async def take(view: memoryview) -> None:
        received.extend(view)
        await trio.lowlevel.checkpoint()

    async with await remote.get(key_of(content), offset=offset) as download:
        await move(download.length, download.readinto, take)
        valid = await download.valid()
        await download.finish(valid)
    return bytes(received), valid


async def test_the_version_is_the_one_asked_for(remote: Remote, version: int) -> None:
    peer, _ = await remote._pool.acquire()
    assert peer.conversation.version == version
    await remote._pool.release(peer)


@pytest.mark.parametrize("content", [b"", HELLO, LARGE], ids=["empty", "small", "large"])
async def test_content_goes_there_and_back(remote: Remote, repository: Path, content: bytes) -> None:
    assert not await remote.check_present(key_of(content))
    assert await put(remote, content) == Stored()
    assert await remote.check_present(key_of(content))
    assert await remote.put(key_of(content)) == AlreadyHave()
    assert await get(remote, content) == (content, True)
    assert await get(remote, content, len(content) // 2) == (content[len(content) // 2 :], True)
    assert (await remote.remove(key_of(content))).ok
    assert (await remote.remove(key_of(content))).ok
    assert not await remote.check_present(key_of(content))


async def test_what_is_not_there(remote: Remote, tmp_path: Path) -> None:
    assert await get(remote, HELLO) == (b"", False)
    with pytest.raises(NotLocked):
        await remote.lock(key_of(HELLO))
    with pytest.raises(NotPresent):
        await retrieve(remote, key_of(HELLO), tmp_path / "out")
    assert not (tmp_path / "out").exists()


async def test_files_go_there_and_back(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(LARGE)
    key = key_for_file(tmp_path / "in")
    assert await send(remote, key, tmp_path / "in", file=b"in") == Stored()
    assert await send(remote, key, tmp_path / "in", file=b"in") == AlreadyHave()
    await retrieve(remote, key, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == LARGE


async def test_wrong_content_is_not_stored(remote: Remote) -> None:
    upload = await remote.put(key_of(HELLO))
    assert isinstance(upload, Upload)
    async with upload:
        await upload.begin(len(HELLO))
        await upload.send_all(memoryview(HELLO.upper()))
        assert await upload.finish(True) == NotStored()
    assert not await remote.check_present(key_of(HELLO))
    assert await put(remote, HELLO) == Stored()


async def test_locked_content_stays_until_it_is_released(remote: Remote) -> None:
    await put(remote, HELLO)
    async with await remote.lock(key_of(HELLO)):
        # git-annex-shell does not answer this: it dies.
        with pytest.raises((ConnectionLost, RemoteError)):
            assert (await remote.remove(key_of(HELLO))).ok
        assert await remote.check_present(key_of(HELLO))
    assert (await remote.remove(key_of(HELLO))).ok


async def test_the_clock_and_deadlines(remote: Remote, version: int) -> None:
    await put(remote, HELLO)
    if version < 3:
        with pytest.raises(Unsupported, match="GETTIMESTAMP needs protocol version 3"):
            await remote.timestamp()
        with pytest.raises(Unsupported, match="REMOVE-BEFORE needs protocol version 3"):
            await remote.remove(key_of(HELLO), before=1)
        assert await remote.check_present(key_of(HELLO))
        return
    now = await remote.timestamp()
    assert now <= await remote.timestamp() <= now + 60
    assert not (await remote.remove(key_of(HELLO), before=now)).ok
    assert await remote.check_present(key_of(HELLO))
    assert (await remote.remove(key_of(HELLO), before=now + 600)).ok
    assert not await remote.check_present(key_of(HELLO))


async def test_data_present(remote: Remote, version: int) -> None:
    upload = await remote.put(key_of(HELLO))
    assert isinstance(upload, Upload)
    async with upload:
        if version < 4:
            with pytest.raises(Unsupported, match="DATA-PRESENT needs protocol version 4"):
                await upload.data_present()
        else:
            assert await upload.data_present() == NotStored()
    assert await put(remote, HELLO) == Stored()


async def test_an_upload_that_is_left_goes_on_where_it_was(remote: Remote) -> None:
    upload = await remote.put(key_of(LARGE))
    assert isinstance(upload, Upload)
    async with upload:
        await upload.begin(len(LARGE))
        await upload.send_all(memoryview(LARGE)[:4_000_000])
    again = await remote.put(key_of(LARGE))
    assert isinstance(again, Upload)
    async with again:
        assert 0 < again.offset <= 4_000_000
        await again.begin(len(LARGE) - again.offset)
        await again.send_all(memoryview(LARGE)[again.offset :])
        assert await again.finish(True) == Stored()


async def test_an_abandoned_download_harms_no_other_request(remote: Remote) -> None:
    await put(remote, LARGE)
    async with await remote.get(key_of(LARGE)) as download:
        await download.readinto(memoryview(bytearray(1000)))
    assert await remote.check_present(key_of(LARGE))


async def test_requests_at_the_same_time(remote: Remote) -> None:
    contents = [b"%d" % number * 1000 for number in range(20)]
    async with trio.open_nursery() as nursery:
        for content in contents:
            nursery.start_soon(put, remote, content)
    for content in contents:
        assert await get(remote, content) == (content, True)


async def test_dropping_while_another_repository_keeps_its_copy(remote: Remote, annex_env: AnnexEnvironment) -> None:
    other = annex_env.repository("other")
    argv = ["git-annex-shell", "p2pstdio", str(other), CLIENT]
    async with await Remote.open(lambda: open_process_peer(argv, env=annex_env.variables)) as holder:
        await put(remote, HELLO)
        with pytest.raises(RemoteError, match="cannot lock the content"):
            await remove_while_locked(key_of(HELLO), target=remote, holder=holder)
        await put(holder, HELLO)
        assert (await remove_while_locked(key_of(HELLO), target=remote, holder=holder)).ok
        assert not await remote.check_present(key_of(HELLO))
        assert (await holder.remove(key_of(HELLO))).ok


async def test_what_git_annex_shell_does_not_serve_over_a_pipe(remote: Remote) -> None:
    with pytest.raises(ConnectionLost):
        await anext(remote.changes())
    assert not await remote.check_present(key_of(HELLO))  # over a new connection


@pytest.mark.parametrize(
    ("mode", "put_error", "remove_error"),
    [
        ("READONLY", "read-only; write access denied", "read-only; write access denied"),
        ("APPENDONLY", None, "append-only; removal denied"),
    ],
)
async def test_what_git_annex_shell_refuses(
    annex_env: AnnexEnvironment, repository: Path, mode: str, put_error: str | None, remove_error: str
) -> None:
    argv = ["git-annex-shell", "p2pstdio", str(repository), CLIENT]
    variables = annex_env.variables | {f"GIT_ANNEX_SHELL_{mode}": "1"}
    async with await Remote.open(lambda: open_process_peer(argv, env=variables)) as remote:
        if put_error is None:
            assert await put(remote, HELLO) == Stored()
        else:
            with pytest.raises(RemoteError, match=put_error):
                await put(remote, HELLO)
        with pytest.raises(RemoteError, match=remove_error):
            await remote.remove(key_of(HELLO))
        assert await remote.check_present(key_of(HELLO)) is (put_error is None)


async def test_a_repository_that_is_another(annex_env: AnnexEnvironment, repository: Path) -> None:
    argv = ["git-annex-shell", "p2pstdio", str(repository), CLIENT]
    with pytest.raises(WrongRepository, match="expected repository not-that-one, found"):
        await Remote.open(lambda: open_process_peer(argv, env=annex_env.variables), "not-that-one")
    with pytest.raises(ProcessEnded, match=r"failed \(exit status 1\): .*expected repository UUID x but found"):
        await Remote.open(
            lambda: open_process_peer([*argv, "--uuid", "x"], env=annex_env.variables, capture_stderr=True)
        )


@pytest.fixture
def ssh_command(sshd: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", f"ssh -F {sshd.config}")
    monkeypatch.setenv("P2PANNEX_REMOTE_SHELL", "git-annex-shell")


@pytest.mark.usefixtures("ssh_command")
async def test_over_ssh(annex_env: AnnexEnvironment, repository: Path, sshd: SshServer) -> None:
    url = sshd.url(repository)
    async with await open_url(f"{url}?uuid={annex_env.uuid(repository)}") as remote:
        assert remote.uuid == annex_env.uuid(repository)
        assert isinstance(remote, Remote)
        assert await put(remote, LARGE) == Stored()
        assert await get(remote, LARGE) == (LARGE, True)


@pytest.mark.usefixtures("ssh_command")
async def test_our_own_server_over_ssh(annex_env: AnnexEnvironment, sshd: SshServer) -> None:
    store = DirectoryStore.create(annex_env.home / "a store")
    async with await open_url(f"{sshd.url(annex_env.home)}/a%20store?shell=p2pannex-shell") as remote:
        assert remote.uuid == store.uuid
        assert isinstance(remote, Remote)
        assert await put(remote, LARGE) == Stored()
        assert await get(remote, LARGE) == (LARGE, True)
    assert await store.check_present(key_of(LARGE))


@pytest.mark.usefixtures("ssh_command")
async def test_failures_over_ssh_are_told_apart(repository: Path, sshd: SshServer) -> None:
    with pytest.raises(Unreachable, match=r"^could not reach localhost \(exit status 255\): .*refused"):
        await open_url(f"ssh://localhost:1{repository}", capture_stderr=True)
    with pytest.raises(Unreachable, match=r"exit status 255\): .*Permission denied"):
        await open_url(sshd.url(repository).replace("//", "//no-such-user@"), capture_stderr=True)
    with pytest.raises(ProcessEnded, match=r"^localhost: command not found \(exit status 127\)") as caught:
        await open_url(sshd.url(repository) + "?shell=no-such-program", capture_stderr=True)
    assert not isinstance(caught.value, Unreachable)
    with pytest.raises(ProcessEnded, match=r"^localhost: failed \(exit status 1\): p2pannex-shell: there is no /x"):
        await open_url(sshd.url(Path("/x")) + "?shell=p2pannex-shell", capture_stderr=True)
