"""The store behind a special remote: an external program that speaks git-annex's special remote protocol."""
