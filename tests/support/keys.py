"""A key that is written out. For any other content, use `p2pannex.testing.samples.key_of`."""

from p2pannex.keys.key import Key

HELLO = b"hello"
HELLO_SHA256 = b"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
HELLO_KEY = Key(b"SHA256-s5--" + HELLO_SHA256)
