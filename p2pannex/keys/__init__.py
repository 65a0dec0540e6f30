"""Keys of git-annex, and verification of content against them."""
