"""A program that serves a store of its own on standard input and output, as an embedder writes it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from p2pannex.errors import RemoteError
from p2pannex.stores.directory import DirectoryStore
from p2pannex.testing.samples import fetch, key_of, store
from p2pannex.urls import open_url

PROGRAM = """
import sys
import trio
from p2pannex import DirectoryStore, Mode
from p2pannex.p2p.stdio import serve_stdio

async def main():
    async with DirectoryStore(sys.argv[1]) as store:
        await serve_stdio(store, mode=Mode(sys.argv[2]))
    print("a stray print, which no client may see", flush=True)

trio.run(main)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    DirectoryStore.create(tmp_path / "store")
    return tmp_path / "store"


def url(path: Path, mode: str, program: str = PROGRAM) -> str:
    script = path.parent / "serve.py"
    script.write_text(program)
    return f"exec:{shlex.join([sys.executable, str(script), str(path), mode])}"


async def test_content_comes_and_goes(path: Path) -> None:
    content = bytes(range(256)) * 2000
    async with await open_url(url(path, "read-write"), capture_stderr=True) as service:
        key = await store(service, content)
        assert await fetch(service, key) == content
    async with DirectoryStore(path) as kept:
        assert await kept.check_present(key)


async def test_what_is_printed_does_not_reach_the_client(path: Path) -> None:
    program = PROGRAM.replace("DirectoryStore(sys", "Loud(sys").replace(
        "async def main",
        "class Loud(DirectoryStore):\n"
        "    async def check_present(self, key):\n"
        "        print('SUCCESS', flush=True)\n"
        "        return await super().check_present(key)\n\n"
        "async def main",
    )
    async with await open_url(url(path, "read-write", program), capture_stderr=True) as service:
        assert not await service.check_present(key_of(b"absent"))


async def test_the_mode_holds(path: Path) -> None:
    async with await open_url(url(path, "read-only"), capture_stderr=True) as service:
        with pytest.raises(RemoteError, match="read-only"):
            await store(service, b"content")
