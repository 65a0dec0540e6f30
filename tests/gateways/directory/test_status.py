"""What processes that serve a gateway directory tell of themselves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import trio
import trio.testing

from p2pannex.gateways.directory.cluster import CONFIG_INTERVAL, GatewayDirectory
from p2pannex.gateways.directory.config import NodeConfig, change, create
from p2pannex.gateways.directory.status import StatusFile, serving
from p2pannex.stores.directory import DirectoryStore
from p2pannex.testing.samples import key_of, sample, send_pieces
from p2pannex.urls import open_url


def test_one_process(tmp_path: Path) -> None:
    file = StatusFile(str(tmp_path))
    assert serving(str(tmp_path)) == []
    file.write({"attic": 12, "cellar": 3})
    (process,) = serving(str(tmp_path))
    assert (process.pid, process.transfers) == (os.getpid(), {"attic": 12, "cellar": 3})
    file.write({})
    (process,) = serving(str(tmp_path))
    assert process.transfers == {}, "what is left of a longer text is not read"
    file.close()
    assert serving(str(tmp_path)) == []
    assert os.listdir(tmp_path / "status") == []


def test_a_process_that_was_killed_serves_no_longer(tmp_path: Path) -> None:
    program = """
        import sys, time
        from p2pannex.gateways.directory.status import StatusFile
        file = StatusFile(sys.argv[1])
        file.write({"attic": 1})
        print("ready", flush=True)
        time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        (process,) = serving(str(tmp_path))
        assert process.pid == child.pid
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert serving(str(tmp_path)) == []
    assert os.listdir(tmp_path / "status") == []


def test_files_that_make_no_sense(tmp_path: Path) -> None:
    (tmp_path / "status").mkdir()
    for name, text in (("a.json", "nonsense"), ("b.json", json.dumps({"pid": 1})), ("c", "{}")):
        (tmp_path / "status" / name).write_text(text)
    assert serving(str(tmp_path)) == []
    assert os.listdir(tmp_path / "status") == ["c"]


def test_where_it_cannot_be_written_nothing_happens(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("a file")
    file = StatusFile(str(tmp_path))
    file.write({"attic": 1})
    file.close()
    assert serving(str(tmp_path)) == []


async def test_transfers_of_a_gateway(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    path = tmp_path / "gateway"
    create(str(path), "family")
    change(path, lambda config: type(config)(config.uuid, config.gateway, "c", {"a": node(tmp_path, "a")}))
    content = sample(1000)
    async with GatewayDirectory(path, open_url) as cluster:
        upload = await cluster.put(key_of(content))
        async with upload:  # type: ignore[union-attr]
            await trio.sleep(2 * CONFIG_INTERVAL)
            (process,) = serving(str(path))
            assert process.transfers == {"a": 1}
            await upload.begin(1000)  # type: ignore[union-attr]
            await send_pieces(upload, content)  # type: ignore[arg-type]
            await upload.finish(True)  # type: ignore[union-attr]
        await trio.sleep(2 * CONFIG_INTERVAL)
        (process,) = serving(str(path))
        assert process.transfers == {}
        async with GatewayDirectory(path, open_url, report=False):
            await trio.sleep(2 * CONFIG_INTERVAL)
            assert len(serving(str(path))) == 1, "who only looks does not serve"
    assert serving(str(path)) == []


def node(tmp_path: Path, name: str) -> NodeConfig:
    return NodeConfig(DirectoryStore.create(tmp_path / name).uuid, str(tmp_path / name))
