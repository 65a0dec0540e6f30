"""The logs of the git-annex branch: their names, and parsers for their content. Nothing here reads or writes a file."""
