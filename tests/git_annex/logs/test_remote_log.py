"""remote.log, as git-annex writes it."""

from __future__ import annotations

from p2pannex.git_annex.logs.remote_log import parse_remote_log


def test_characters_that_no_argument_or_file_can_have_stay_as_written() -> None:
    text = "type=external externaltype=a&0;b&55296;&56320;c&10;d"
    [settings] = parse_remote_log(f"u {text} timestamp=1s\n".encode()).values()
    assert settings["externaltype"] == "a&0;b&55296;&56320;c\nd"
    settings["externaltype"].encode()


def test_remote_log_as_git_annex_writes_it() -> None:
    """The second was written by git-annex 10.20261026, given ``rcloneprefix=/cl oud&x;%41\u00e9=z``."""
    log = (
        "u1 type=external externaltype=foo name=a timestamp=1s\n"
        "u2 encryption=none name=cl2 rcloneprefix=/cl&32;oud&38;x;%41\u00e9=z type=rclone timestamp=1795279572s\n"
        "u1 type=external externaltype=foo name=b timestamp=2s\n"
        "u3 odd&9999999;=& =1 timestamp=1s\n"
    )
    parsed = parse_remote_log(log.encode())
    assert parsed["u1"]["name"] == "b"
    assert parsed["u2"]["rcloneprefix"] == "/cl oud&x;%41\u00e9=z"
    assert parsed["u3"] == {"odd&9999999;": "&", "": "1"}
