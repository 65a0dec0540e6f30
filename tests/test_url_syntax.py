"""URLs of repositories: what each says, and what is refused."""

import pytest
from attrs import astuple
from hypothesis import example, given
from hypothesis import strategies as st

from p2pannex.url_syntax import (
    AnyURL,
    DirectoryURL,
    ExecURL,
    InvalidURL,
    NetworkURL,
    SshURL,
    TcpURL,
    TlsURL,
    UnixURL,
    parse_url,
)


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("/srv/store", DirectoryURL("/srv/store")),
        ("store", DirectoryURL("store")),
        ("./a b", DirectoryURL("./a b")),
        ("C:x", DirectoryURL("C:x")),
        ("file:///srv/a b", DirectoryURL("/srv/a b")),
        ("file://localhost/srv/annex", DirectoryURL("/srv/annex")),
        ("host:dir", SshURL("host", "/~/dir")),
        ("host:/dir", SshURL("host", "/dir")),
        ("me@host:~you/dir", SshURL("host", "/~you/dir", user="me")),
        ("host:~/dir", SshURL("host", "/~/dir")),
        ("host:a:b/100%25", SshURL("host", "/~/a:b/100%25")),
        ("[::1]:dir", SshURL("::1", "/~/dir")),
        ("me@[fe80::1%eth0]:/dir", SshURL("fe80::1%eth0", "/dir", user="me")),
        ("[host:2222]:/dir", SshURL("host", "/dir", 2222)),
        ("[me@host]:/dir", SshURL("host", "/dir", user="me")),
        ("./host:dir", DirectoryURL("./host:dir")),
        ("a/host:dir", DirectoryURL("a/host:dir")),
        ("ssh://host/dir", SshURL("host", "/dir")),
        ("ssh://me@Host:2222/dir/", SshURL("Host", "/dir/", 2222, "me")),
        ("ssh://host/~/dir", SshURL("host", "/~/dir")),
        ("ssh://[::1]:22/dir", SshURL("::1", "/dir", 22)),
        ("ssh://host/a%20b%23%3f", SshURL("host", "/a b#?")),
        ("ssh://host/%ff", SshURL("host", "/\udcff")),
        ("ssh://host/d?shell=p2pannex-shell", SshURL("host", "/d", shell="p2pannex-shell")),
        ("p2p-annex::net-1:/run/a://b c?d", NetworkURL("net-1", "/run/a://b c?d")),
        ("ssh://host/d?uuid=U&shell=/opt/x%20-v", SshURL("host", "/d", uuid="U", shell="/opt/x -v")),
        ("exec:git-annex-shell p2pstdio '/a b' U", ExecURL(("git-annex-shell", "p2pstdio", "/a b", "U"))),
        ("unix:/run/annex", UnixURL("/run/annex")),
        ("unix:annex", UnixURL("annex")),
        ("tcp://host:1234", TcpURL("host", 1234)),
        ("tcp://[fe80::1%25eth0]:1234/", TcpURL("fe80::1%eth0", 1234)),
        ("tls://Host:1", TlsURL("Host", 1)),
        ("tls://host:1?ca=/etc/my%20ca.pem", TlsURL("host", 1, "/etc/my ca.pem")),
    ],
)
def test_a_url_says(url: str, parsed: AnyURL) -> None:
    assert parse_url(url) == parsed


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "empty"),
        ("http://host/x", "http:// is not supported; write a directory, ssh://HOST/DIR"),
        ("file:x/y://z", "not supported"),
        ("-oProxyCommand=x:dir", "not valid"),
        ("-l@host:dir", "not valid"),
        ("ssh://host", "the directory is missing"),
        ("ssh://host/", "the directory is missing"),
        ("ssh:///dir", "the host is missing"),
        ("ssh://-oProxyCommand=x/dir", "the host is missing or not valid"),
        ("ssh://%2doProxyCommand=x/dir", "the host is missing or not valid"),
        ("ssh://-l@host/dir", "user's name"),
        ("ssh://@host/dir", "user's name"),
        ("ssh://host:port/dir", "(?i)port"),
        ("ssh://host:99999/dir", "(?i)port"),
        ("ssh://me:secret@host/dir", "password"),
        ("ssh://host/dir?nosuch=1", "allowed parameters: \\?shell=VALUE and \\?uuid=VALUE"),
        ("ssh://host/dir?shell=", "shell= is not a valid parameter"),
        ("ssh://host/dir#x", "%23"),
        ("ssh://[::1/dir", "(?i)ipv6"),
        ("exec:", "the command is missing"),
        ("exec:   ", "the command is missing"),
        ("exec:a 'b", "quotation"),
        ("unix:", "path of the socket"),
        ("unix:///run/annex", "path of the socket"),
        ("tcp://host", "the port is missing"),
        ("tcp://:12", "the host is missing"),
        ("tcp://host:12/path", "no path"),
        ("tcp://secret@host:12", "P2PANNEX_TOKEN"),
        ("tcp://host:12?ca=x", "allowed parameters: none"),
        ("tls://host:12?x=y", "ca=VALUE"),
        ("p2p-annex:net:address", "colon"),
        ("p2p-annex::net", "not empty"),
        ("p2p-annex::net:", "not empty"),
        ("p2p-annex::NET:address", "write p2p-annex::NET:ADDRESS"),
        ("p2p-annex::a/b:address", "small letters"),
        ("p2p-annex::net:--option", "a command or an option"),
        ("a\nb", "line breaks"),
        ("a\0b", "NULs"),
        ("ssh://host/a%00b", "NULs"),
        ("ssh://host/a%0ab", "NULs"),
        ("ssh://me%0a@host/a", "NULs"),
        ("ssh://ho%00st/a", "NULs"),
        ("ssh://host/a?shell=x%00", "NULs"),
        ("ssh://host/a?uuid=%0Ax", "NULs"),
        ("ssh://host/a?%0a=x", "NULs"),
        ("tls://host:1?ca=%00", "NULs"),
        ("tcp://h%00:1", "NULs"),
    ],
)
def test_a_url_that_makes_no_sense_is_refused_in_one_line(url: str, problem: str) -> None:
    with pytest.raises(InvalidURL, match=problem) as caught:
        parse_url(url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "ssh://me:hunter2@host/dir",
        "tcp://hunter2@host:12",
        "tls://x:hunter2@host:12",
        "ssh://me:hunter2@h:port/d",
        f"p2p-annex::net:address:{'0123456789abcdef' * 8}",
    ],
)
def test_a_secret_in_a_url_is_not_repeated(url: str) -> None:
    with pytest.raises(InvalidURL) as caught:
        parse_url(url)
    assert "hunter2" not in str(caught.value)
    assert "0123456789" not in str(caught.value)


@given(st.text(), st.sampled_from(["", "ssh://", "tcp://", "tls://h:1?ca=", "exec:", "unix:", "p2p-annex::", "[h:"]))
@example("9" * 5000 + "]:dir", "[h:")
@example("[::1%0a]:1", "tcp://")
def test_any_text_is_parsed_or_refused_in_one_line(text: str, start: str) -> None:
    try:
        parsed = parse_url(start + text)
    except InvalidURL as error:
        problem = str(error)
    else:
        problem = ""
        parts = [part for part in astuple(parsed) if isinstance(part, str)]
        assert not any("\0" in part or "\n" in part for part in parts)
    assert "\n" not in problem


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hunter2@host/x",
        "tcp://me:hunter2@[bad:1",
        "tls://me:hunter2/x@host:1",
        "tls://host:1?token=hunter2",
        "tls://host:1#hunter2",
        "tls://me:hunter2@ho\N{FULLWIDTH SOLIDUS}st:1",
        "tcp://me:hunter2@host:99999",
        "tcp://host?hunter2",
        "exec:'hunter",
    ],
)
def test_a_secret_in_an_invalid_url_is_not_repeated(url: str) -> None:
    with pytest.raises(InvalidURL) as caught:
        parse_url(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None or "hunter2" not in str(caught.value.__cause__)
