"""A store behind a special remote program, which uses git-annex's external special remote protocol."""
