"""Preferred content: our judgement and that of the real git-annex, over the same branch, expression by expression."""

from __future__ import annotations

import hashlib

import pytest

from p2pannex.cluster.preferred import Facts, load, wants, wants_to_keep
from p2pannex.git_annex.branch.blocking import BlockingBranch
from p2pannex.git_annex.logs.group_log import parse_group_log
from p2pannex.git_annex.logs.maxsize_log import parse_maxsize_log
from p2pannex.git_annex.logs.trust_log import parse_trust_log
from p2pannex.keys.key import Key
from tests.compat.annex_environment import AnnexEnvironment

pytestmark = pytest.mark.compat

UUIDS = [f"{n:08x}-1111-4111-8111-11111111111{n}" for n in range(8)]
GROUPS = ["g client", "g", "client archive", "g", "backup h", "h manual", "source g h", "g client zz"]
TRUST = {0: "1", 1: "0", 2: "?", 3: "X", 5: "1", 7: "0"}
HOLDERS = ["", "0", "01", "013", "12", "5", "01234567", "3", "01367", "24", "0546", "17", "2", "4", "06", "35"]
SIZES = [0, 1, 2, 1000, 1024, 10**6, 5 * 10**5, 999, 1001, 30, 40, None, 70, 80, 90, 100]
FILES = [
    "a.txt", "A.TXT", "dir/b.txt", "dir/.hid.txt", "archive/x", "d/archive/y", "[a]", "a]b", "a b", "x*y", "é.txt",
    "d/e/f.mp3", ".hid", "a-b", "a\\b", "7.txt",
]  # fmt: skip
MAX_SIZES = {0: 2_600_000, 1: 2_600_000, 4: 2_001_500, 6: 5_000_000, 5: 4_003_000}
GROUP_WANTED = {"zz": "standard and fullybalanced=g:2", "client": "include=*.txt", "archive": "copies=1 or include=d*"}

EXPRESSIONS = """
include=* | include=*.txt | include=*/* | include=dir?b.txt | include=[!a].txt | include=[^a].txt
include=[[:alnum:]].txt | include=[[]a] | include=x\\*y | include=[a-]* | include=**/y | exclude=*.txt | include={a,b}*
include=*?r*y* | include=*[/.]*[a-f]?* | include=*a*a* | include=?*?x? | include=**.*t*t
include=a*?txt | include=a.txt*
smallerthan=1000 | largerthan=1kb | smallerthan=1KiB | largerthan=1.5 | smallerthan=0.5mb | not largerthan=0
inbackend=SHA256E | inbackend=WORM | securehash | anything | nothing | anything or nothing and nothing
not nothing and nothing | nothing or not (include=a* or copies=1) | include=*.txt copies=2 or present
copies=2 | copies=g:2 | copies=trusted:1 | copies=semitrusted+:2 | copies=untrusted:1 | copies=dead:1 | copies=dead+:2
lackingcopies=1 | lackingcopies=3 | approxlackingcopies=2 | inallgroup=client | inallgroup=h | inallgroup=nope
onlyingroup=g | onlyingroup=h | present | not present | anything or not (present and anything) | not not present
balanced=g | balanced=g:2 | balanced=h | balanced=g:9 | balanced=g:0 | balanced=h:lackingcopies | not balanced=g
fullybalanced=g | fullybalanced=g:3 | fullybalanced=h:2 | fullybalanced=h:lackingcopies | not fullybalanced=g
sizebalanced=g | fullysizebalanced=g | fullysizebalanced=g:2 | fullysizebalanced=h | fullysizebalanced=h:2
standard | groupwanted | standard or include=a* | groupwanted and not copies=3
"""


def expressions() -> list[str]:
    return [text.strip() for line in EXPRESSIONS.strip().splitlines() for text in line.split("|")]


def keys() -> list[Key]:
    made = []
    for number, size in enumerate(SIZES):
        name = hashlib.sha256(b"%d" % number).hexdigest()
        backend = "WORM" if number == 9 else "URL" if size is None else "SHA256E"
        made.append(Key(f"{backend}--{name}" if size is None else f"{backend}-s{size}--{name}"))
    return made


def test_every_expression_is_judged_alike(annex_env: AnnexEnvironment) -> None:
    annex = annex_env.repository("annex")
    contents = keys()
    for key, name in zip(contents, FILES, strict=True):
        annex_env.run("git", "annex", "fromkey", "-q", "--force", str(key), name, cwd=annex)
    branch = BlockingBranch(annex / ".git")
    held = [frozenset([UUIDS[int(digit)] for digit in digits]) for digits in HOLDERS]
    for key, holders in zip(contents, held, strict=True):
        for uuid in sorted(holders):
            branch.log_location(key, uuid, True)

    def write(log: str, lines: list[str]) -> bytes:
        text = "".join(line + "\n" for line in lines).encode()
        branch.change(log.encode(), lambda old: text)
        return text

    write("uuid.log", [f"{uuid} r{n} timestamp=1s" for n, uuid in enumerate(UUIDS)])
    groups = parse_group_log(write("group.log", [f"{u} {g} timestamp=1s" for u, g in zip(UUIDS, GROUPS, strict=True)]))
    trust = parse_trust_log(write("trust.log", [f"{UUIDS[n]} {t} timestamp=1s" for n, t in TRUST.items()]))
    limits = parse_maxsize_log(write("maxsize.log", [f"1s {UUIDS[n]} {size}" for n, size in MAX_SIZES.items()]))
    write("group-preferred-content.log", [f"1s {group} {text}" for group, text in GROUP_WANTED.items()])
    write("numcopies.log", ["1s 3"])
    used = {
        uuid: sum(key.size or 0 for key, holders in zip(contents, held, strict=True) if uuid in holders)
        for uuid in UUIDS
    }
    wrong = []
    judged = expressions()
    for turn, text in enumerate(judged):
        here = UUIDS[turn * 5 % 8] if "wanted" not in text and "standard" not in text else UUIDS[7]
        for uuid in dict.fromkeys([UUIDS[6], UUIDS[4]] if "balanced" in text else [here]):
            write("preferred-content.log", [f"{uuid} {text} timestamp=1s"])
            expression = load(text, groups=groups[uuid], group_wanted=GROUP_WANTED)
            ours: dict[str, set[str]] = {"--want-get-by": set(), "--want-drop-by": set()}
            for key, name, holders in zip(contents, FILES, held, strict=True):
                facts = Facts(key, name, holders, groups, trust, 3, used, limits)
                if wants(expression, facts, uuid):
                    ours["--want-get-by"].add(name)
                if not wants_to_keep(expression, facts, uuid):
                    ours["--want-drop-by"].add(name)
            if not any(word in text for word in ("copies", "group", "present", "balanced", "wanted")):
                del ours["--want-drop-by"]  # the opposite of the other
            for option, expected in ours.items():
                done = annex_env.run("git", "annex", "find", "--print0", "--anything", f"{option}={uuid}", cwd=annex)
                theirs = set(done.stdout.split("\0")) - {""}
                if theirs != expected:
                    wrong.append(
                        (text, uuid[:8], option, "only git-annex", theirs - expected, "only we", expected - theirs)
                    )
    branch.close()
    assert not wrong, "\n".join(map(str, wrong))
