"""`p2pannex completion`: print the completion script of a shell."""

from __future__ import annotations

import click

from p2pannex.cli.options import prints
from p2pannex.cli.output import Output


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@prints
def completion(shell: str, output: Output) -> None:
    """Print the completion script of a shell.

    It completes commands, options, backends, directories and the keys of a directory store.

    \b
    bash   p2pannex completion bash > ~/.local/share/bash-completion/completions/p2pannex
    zsh    p2pannex completion zsh > a file named _p2pannex in a directory of $fpath
    fish   p2pannex completion fish > ~/.config/fish/completions/p2pannex.fish
    """
    from click.shell_completion import get_completion_class

    from p2pannex.cli.program import program

    kind = get_completion_class(shell)
    assert kind is not None
    # Not completer.source(): it checks the version of the bash in PATH, which may not be the one that runs the script.
    completer = kind(program, {}, "p2pannex", "_P2PANNEX_COMPLETE")
    script = completer.source_template % completer.source_vars()
    output.result(script.encode(), shell=shell, script=script)
