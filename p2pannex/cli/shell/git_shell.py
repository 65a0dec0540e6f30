"""Pass git's commands to git-shell, within the restrictions of the client.

p2pannex-shell imports this module only for such a command.
"""

from __future__ import annotations

import os

from p2pannex.child_environment import git_environment
from p2pannex.cli.shell.command_line import CommandRefused, permitted_directory, refuse, restrictions
from p2pannex.cli.shell.owner import check_not_pushed
from p2pannex.restrictions import APPEND_ONLY, APPENDS, DIRECTORY, GIT_COMMANDS, OTHER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def git_shell(line: str | None, words: list[str]) -> NoReturn:
    """Replace this process by git-shell, which runs git's own commands only.

    `words` are the words of the command line `line`; `line` is None if they were parameters of their own. A command on
    a git repository gets the directory that `permitted_directory` returns, never the client's own spelling.
    """
    command = "-".join(words[:2]) if words[:1] == ["git"] else "".join(words[:1])
    parameters = words[2:] if words[:1] == ["git"] else words[1:]
    if command in GIT_COMMANDS and len(parameters) == 1:
        refuse(command)
        line = f"{command} {quoted(git_directory(parameters[0]))}"
        if command == "git-receive-pack" and APPEND_ONLY in restrictions().names:
            set_git_settings(APPENDS)
    else:
        if restrictions().names == (DIRECTORY,):
            raise CommandRefused("only git commands on one directory are allowed")
        refuse(OTHER)
    try:
        argv = ["git-shell", "-c", *(words if line is None else [line])]
        os.execvpe("git-shell", argv, git_environment())
    except OSError as error:
        raise CommandRefused(f"cannot run git-shell: {error.strerror}") from error


def git_directory(directory: str) -> str:
    """The directory to give to git. git would add ``.git`` to the name of one that is no repository; not so here."""
    path = permitted_directory(directory)
    check_not_pushed(path)
    return f"{path}/." if os.path.isdir(path) and not os.path.isdir(f"{path}/.git") else path


def set_git_settings(settings: dict[str, str]) -> None:
    """Set git settings for the programs that this process runs. They override those of the repository."""
    count = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    for index, (name, value) in enumerate(settings.items(), count):
        os.environ[f"GIT_CONFIG_KEY_{index}"] = name
        os.environ[f"GIT_CONFIG_VALUE_{index}"] = value
    os.environ["GIT_CONFIG_COUNT"] = str(count + len(settings))


def quoted(word: str) -> str:
    """`word` in the quoting that git-shell requires: in single quotes, with no other characters beside them."""
    return "'" + word.replace("'", "'\\''").replace("!", "'\\!'") + "'"
