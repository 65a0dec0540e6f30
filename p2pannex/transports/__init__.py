"""Streams of bytes: pipes, processes, ssh, sockets, P2P networks; and the pump that moves content between them.

Nothing here depends on the protocol.
"""
