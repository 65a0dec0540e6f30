"""The files of the git-annex branch: their names, and what their lines say. Nothing here reads or writes a file."""
