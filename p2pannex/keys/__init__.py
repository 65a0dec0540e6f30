"""git-annex's keys, and verification of content against them."""
