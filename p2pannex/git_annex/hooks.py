"""The commands that a repository's owner wants run when git-annex changes something: settings and hook scripts.

============================  ====================  ==============================================================
Setting                       Script                When it is run
============================  ====================  ==============================================================
annex.freezecontent-command   freezecontent-annex   after an object or its directory was made read-only
annex.thawcontent-command     thawcontent-annex     before either is made writable
annex.secure-erase-command    secure-erase-annex    on an object that is removed, before it is unlinked
annex.commitmessage-command   commitmessage-annex   its output is the message of a commit to the branch
annex.post-update-command     post-update-annex     after a commit to the git-annex branch
============================  ====================  ==============================================================

Scripts are in ``hooks`` of the git directory, and get the file as their only parameter. In a command line, ``%path`` or
``%file`` stands for the file. As in git-annex, a script that can be executed comes first, and the failure of a command
does not fail the change: it is logged, and the command's own messages are on standard error.
"""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
from collections.abc import Mapping

from p2pannex.child_environment import git_environment
from p2pannex.git_annex.values import is_true

log = logging.getLogger(__name__)


class Hook:
    """One command. It is false if the owner has set none."""

    def __init__(self, git_dir: bytes, values: Mapping[str, str], name: str, variable: str = "") -> None:
        script = os.path.join(git_dir, b"hooks", os.fsencode(f"{name}-annex"))
        self._script = script if os.access(script, os.X_OK) and os.path.isfile(script) else None
        self._command = values.get(f"annex.{name}-command") or None
        self._variable = variable
        self.name = f"{name}-annex" if self._script is not None else f"annex.{name}-command"

    def __bool__(self) -> bool:
        return self._script is not None or self._command is not None

    def run(self, path: bytes | None = None) -> bool:
        """Run the command, on the file `path` if it is about one, and wait for its end. Whether it succeeded.

        Its output goes to standard error: standard output belongs to the client.
        """
        if not self:
            return True
        return self._run(path, 2).returncode == 0

    def output(self) -> str | None:
        """What the command prints to standard output; None if there is no command, or it fails."""
        if not self:
            return None
        done = self._run(None, subprocess.PIPE)
        return None if done.returncode else os.fsdecode(done.stdout).strip() or None

    def _run(self, path: bytes | None, stdout: int) -> subprocess.CompletedProcess[bytes]:
        argv: list[bytes]
        if self._script is not None:
            argv = [self._script] if path is None else [self._script, path]
        else:
            assert self._command is not None
            command = self._command
            if path is not None:
                command = command.replace(self._variable, shlex.quote(os.fsdecode(path)))
            argv = [b"sh", b"-c", os.fsencode(command)]
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=stdout, env=git_environment(), check=False)
        except OSError as error:
            log.warning("%s cannot be run: %s", self.name, error.strerror)
            return subprocess.CompletedProcess(argv, 127, b"")
        if done.returncode:
            log.warning("%s failed with exit status %s", self.name, done.returncode)
        return done


class ContentHooks:
    """The commands about objects. All are false if the owner has set none."""

    def __init__(self, git_dir: bytes, values: Mapping[str, str]) -> None:
        self.freeze = Hook(git_dir, values, "freezecontent", "%path")
        self.thaw = Hook(git_dir, values, "thawcontent", "%path")
        self.erase = Hook(git_dir, values, "secure-erase", "%file")


class CommitSettings:
    """What the owner has set about commits to the git-annex branch."""

    def __init__(self, git_dir: bytes, values: Mapping[str, str]) -> None:
        self.always = is_true(values.get("annex.alwayscommit", "true"))
        """Whether to commit. If not, changes stay in the journal until the owner commits them, with git annex merge."""
        self._message = values.get("annex.commitmessage") or None
        self._message_command = Hook(git_dir, values, "commitmessage")
        self._post_update = Hook(git_dir, values, "post-update")

    def message(self) -> str | None:
        """The message of the next commit; None if the owner has set none."""
        return self._message_command.output() or self._message

    def committed(self) -> None:
        """To be called after a commit."""
        self._post_update.run()
