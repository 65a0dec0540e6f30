"""protocol-spec/conversation.md tells the table as it is."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

from p2pannex.protocol.conversation import AFTER_BAD_LINE, TABLE, State
from p2pannex.protocol.messages import MESSAGES

SPEC = Path(__file__).parents[2] / "protocol-spec"
GENERATE = SPEC / "generate.py"


def test_it_is_not_stale() -> None:
    document = runpy.run_path(str(GENERATE))["document"]
    assert (SPEC / "conversation.md").read_text(encoding="utf-8") == document(), "run python protocol-spec/generate.py"


def test_the_command_tells_whether_it_is_stale(tmp_path: Path) -> None:
    copy = tmp_path / "generate.py"
    copy.write_text(GENERATE.read_text(encoding="utf-8"), encoding="utf-8")
    target = tmp_path / "conversation.md"

    def run(*arguments: str) -> int:
        command = [sys.executable, str(copy), *arguments]
        return subprocess.run(command, capture_output=True, cwd=SPEC.parent, env={"PYTHONPATH": "."}).returncode

    assert run() == 0
    assert run("--check") == 0
    target.write_text(target.read_text(encoding="utf-8") + "more\n", encoding="utf-8")
    assert run("--check") == 1
    assert run("--nonsense") == 2


def test_every_state_message_and_answer_is_told() -> None:
    text = (SPEC / "conversation.md").read_text(encoding="utf-8")
    for state in State:
        assert f"\n### {state.name}\n" in text
    for side_rules in TABLE.values():
        for rules in side_rules.values():
            for message, following in rules.items():
                assert f"| {message.verb.decode()} | {message.since} | `{following.name}` |" in text
    for verb in MESSAGES:
        assert verb.decode() in text
    for answer, _ in AFTER_BAD_LINE.values():
        assert f"`ERROR {answer}`" in text
