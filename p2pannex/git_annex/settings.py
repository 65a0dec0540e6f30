# ruff: noqa: SIM905 - many names in a row are easier to read as words
"""What p2pannex makes of each setting and hook that git-annex documents.

`SETTINGS` has every one of git-annex's manual page and of ``git annex config``. ``<name>`` is a remote's, ``<base>`` a
part of a URL. docs/reference/git-annex-settings.md shows the table.

A setting is *honoured* if it affects where or how content is kept; *ignored* if that does no harm, for the reason
given; and *refused* if ignoring it could do harm, and p2pannex does not have what it asks for. The error names it.
"""

from __future__ import annotations

from enum import Enum


class Treatment(Enum):
    """What is done about a setting."""

    HONOURED = "honoured"
    IGNORED = "ignored"
    REFUSED = "refused"


_ADDING = "about adding files to a work tree, which clients do"
_COMMANDS = "about commands of git-annex and its assistant"
_TRANSFERS = "about transfers that git-annex starts"
_SYNC = "about git annex sync, pull and push"
_SPECIAL = "about a type of special remote that p2pannex does not open, except through an external program"
_DOWNLOADS = "about downloads from the web, of which p2pannex makes none"

_HONOURED = {
    "annex.uuid": "the repository's UUID",
    "annex.version": "must be 10",
    "annex.securehashesonly": "content is stored only under a key with a cryptographically secure hash",
    "annex.diskreserve": "bytes to leave free on the disk",
    "annex.numcopies": "of a gateway repository: numcopies, if the git-annex branch has none",
    "annex.private": "nothing about the repository is recorded in the git-annex branch",
    "annex.alwayscommit": "if false, changes of the git-annex branch stay in the journal",
    "annex.commitmessage": "the message of commits to the git-annex branch",
    "annex.commitmessage-command": "its output is that message",
    "annex.post-update-command": "is run after a commit to the git-annex branch",
    "annex.secure-erase-command": "is run on content that is removed, after it was moved to annex/p2pannex/erasing",
    "annex.freezecontent-command": "is run after an object or its directory was made read-only",
    "annex.thawcontent-command": "is run before an object or its directory is changed",
    "annex.crippledfilesystem": "permissions are left as they are",
    "annex.pidlock": "one lock for the repository, annex/pidlock, instead of file locks",
    "annex.thin": "an object that others can modify is verified before it is vouched for",
    "annex.initwanted": "git annex init, which is run for a new repository, does it",
    "annex.initrequired": "git annex init does it",
    "annex.initgroups": "git annex init does it",
    "annex.pre-init-command": "git annex init does it",
    "annex.cluster.<name>": "of a gateway repository: the UUID of a cluster",
    "annex.ssh-options": "of a gateway repository: options for ssh to its nodes",
    "remote.<name>.annex-cost": "of a gateway repository: cheaper nodes come first",
    "remote.<name>.annex-cost-command": "its output is the cost",
    "remote.<name>.annex-shell": "the program to run on the node's server",
    "remote.<name>.annex-ssh-options": "options for ssh to the node",
    "remote.<name>.annex-readonly": "a special remote is not opened; a git remote is used, as by git-annex's gateways",
    "remote.<name>.annex-trustlevel": "counts instead of the branch's trust.log; dead nodes get nothing",
    "remote.<name>.annex-private": "nothing about the node is recorded in the git-annex branch",
    "remote.<name>.annex-proxy": "clients may reach the repository through this one",
    "remote.<name>.annex-cluster-node": "the clusters that it is a node of",
    "remote.<name>.annex-cluster-gateway": "the clusters that it is another gateway of",
    "remote.<name>.annex-uuid": "the UUID that must be found there",
    "remote.<name>.annex-config-uuid": "a special remote that shares its storage is not opened",
    "remote.<name>.annex-externaltype": "the program of a special remote",
    "remote.<name>.annexUrl": "the address of a node, instead of its url",
    "url.<base>.annexInsteadOf": "rewrites the address of a node",
    "git annex config annex.numcopies": "numcopies.log is read for preferred content",
    "git annex config annex.securehashesonly": "git annex init copies it to the git config, which is read",
    "hook freezecontent-annex": "as annex.freezecontent-command",
    "hook thawcontent-annex": "as annex.thawcontent-command",
    "hook secure-erase-annex": "as annex.secure-erase-command",
    "hook commitmessage-annex": "as annex.commitmessage-command",
    "hook post-update-annex": "as annex.post-update-command",
    "hook pre-init-annex": "git annex init runs it",
}

_REFUSED = {
    "annex.tune.objecthash1": "the repository is not opened: its objects and logs are at other paths",
    "annex.tune.objecthashlower": "the repository is not opened: its objects are at other paths",
    "annex.tune.branchhash1": "the repository is not opened: its logs are at other paths",
    "annex.trashbin": "removals are refused: content would not be moved to that remote",
}

_IGNORED = {
    "annex.pidlocktimeout": "p2pannex waits 10 to 60 s for a lock, depending on what for, and then fails the request",
    "annex.fullybalancedthreshhold": "about git annex's rebalancing",
    "annex.hardlink": "content from clients is always a new file",
    "annex.supportunlocked": "unlocked files are left to git-annex in any case",
    "annex.alwayscompact": "logs are read alike; p2pannex appends where it can",
    "annex.allowsign": "commits by a server are not signed: there is no one to enter a passphrase",
    "annex.merge-annex-branches": "branches of other repositories are merged by git-annex",
    "annex.dbdir": "git-annex's databases are not used",
    "annex.verify": "everything is always verified",
    "remote.<name>.annex-verify": "everything is always verified",
    "annex.url": "about access over HTTP",
    "annex.cachecreds": "about credentials that git-annex keeps",
    "annex.debug": "about git-annex's own messages",
    "annex.debugfilter": "about git-annex's own messages",
    "annex.sshcaching": "set up connection sharing in ssh's own configuration",
    "annex.adviceNoSshCaching": "about git-annex's own messages",
    "annex.autoupgraderepository": "old versions are refused: git annex upgrade",
    "annex.pre-commit-command": "about commits to HEAD, of which p2pannex makes none",
    "hook pre-commit-annex": "about commits to HEAD, of which p2pannex makes none",
    "hook http-headers-annex": _DOWNLOADS,
    "remote.<name>.annex-start-command": "a node must be ready; mount it before the gateway runs",
    "remote.<name>.annex-stop-command": "as annex-start-command",
    "remote.<name>.annex-ignore": "about transfers that this repository starts: git-annex's gateways ignore it too",
    "remote.<name>.annex-ignore-command": "as annex-ignore",
    "remote.<name>.annex-ignore-auto": "as annex-ignore",
    "remote.<name>.annex-checkuuid": "the UUID is always checked",
    "remote.<name>.annex-speculate-present": "the node itself is always asked",
    "remote.<name>.annex-proxied-by": "set by git-annex for its own use",
    "remote.<name>.annex-bare": "set by git-annex for its own use",
    "remote.<name>.annex-availability": "about the assistant",
    "git annex config annex.mincopies": "the client that removes content checks it",
    **dict.fromkeys(
        (
            "annex.backend annex.maxextensionlength annex.maxextensions annex.largefiles annex.dotfiles "
            "annex.gitaddtoannex annex.addsmallfiles annex.addunlocked annex.assistant.allowunlocked annex.genmetadata"
        ).split(),
        _ADDING,
    ),
    **dict.fromkeys(
        (
            "annex.skipunknown annex.used-refspec annex.jobs annex.adjustedbranchrefresh annex.queuesize "
            "annex.bloomcapacity annex.bloomaccuracy annex.viewunsetdirectory annex.delayadd annex.expireunused "
            "annex.fscknudge annex.autoupgrade annex.autocommit annex.startupscan annex.listen annex.port"
        ).split(),
        _COMMANDS,
    ),
    **dict.fromkeys(
        (
            "annex.resolvemerge annex.synccontent annex.synconlyannex annex.syncmigrations remote.<name>.annex-sync "
            "remote.<name>.annex-sync-command remote.<name>.annex-pull remote.<name>.annex-push "
            "remote.<name>.annex-tracking-branch remote.<name>.annex-export-tracking "
            "remote.<name>.annex-max-git-bundles annex.max-git-bundles remote.<name>.annex-allow-encrypted-gitrepo"
        ).split(),
        _SYNC,
    ),
    **{
        f"{prefix}{name}": _TRANSFERS
        for prefix in ("annex.", "remote.<name>.annex-")
        for name in (
            "fastcopy retry forward-retry retry-delay bwlimit bwlimit-download bwlimit-upload stalldetection "
            "stalldetection-download stalldetection-upload"
        ).split()
    },
    **{
        f"{prefix}{name}": _SPECIAL
        for prefix in ("annex.", "remote.<name>.annex-")
        for name in (
            "rsync-options rsync-upload-options rsync-download-options bup-split-options gnupg-options "
            "gnupg-decrypt-options shared-sop-command shared-sop-profile s3-restore-tier s3-restore-days"
        ).split()
    },
    **{
        f"remote.<name>.annex-{name}": _SPECIAL
        for name in (
            "rsync-transport rsyncurl buprepo borgrepo compute ddarrepo directory adb androiddirectory androidserial "
            "s3 glacier rclone web webdav tahoe gcrypt git-lfs httpalso mask hooktype"
        ).split()
    },
    **dict.fromkeys(
        (
            "annex.web-options remote.<name>.annex-web-options annex.youtube-dl-options annex.youtube-dl-command "
            "annex.aria-torrent-options annex.http-headers annex.http-headers-command "
            "annex.security.allowed-url-schemes annex.security.allowed-ip-addresses "
            "annex.security.allowed-http-addresses annex.security.allow-insecure-https "
            "annex.security.allow-unverified-downloads remote.<name>.annex-security-allow-unverified-downloads "
            "annex.security.allowed-compute-programs"
        ).split(),
        _DOWNLOADS,
    ),
    **{
        f"git annex config annex.{name}": "as the setting of that name in the git config"
        for name in "largefiles dotfiles addunlocked autocommit resolvemerge synccontent synconlyannex".split()
    },
}

SETTINGS: dict[str, tuple[Treatment, str]] = {
    **{name: (Treatment.HONOURED, text) for name, text in _HONOURED.items()},
    **{name: (Treatment.REFUSED, text) for name, text in _REFUSED.items()},
    **{name: (Treatment.IGNORED, text) for name, text in _IGNORED.items()},
}
"""Each setting and hook: what is done about it, and what it means here or why it is ignored."""


def table() -> str:
    """The table of the documentation, in Markdown."""
    rows = ["| setting | | |", "| --- | --- | --- |"]
    for treatment in (Treatment.HONOURED, Treatment.REFUSED, Treatment.IGNORED):
        for name, (treated, text) in sorted(SETTINGS.items()):
            if treated is treatment:
                rows.append(f"| `{name}` | {treated.value} | {text} |")
    return "\n".join(rows) + "\n"
