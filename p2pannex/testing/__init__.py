"""Tools for testing your own implementation of a part: a store, a transport, a client or a server.

services     checks a Service; every store, remote and cluster of p2pannex passes these checks
serving      a service behind the protocol, in one process
pair         the two ends of a conversation, connected: over bytes alone, and over every transport
faults       connections that break at any byte, operations that are cancelled at any point
simulator    clusters with misbehaving clocks, connections, disks and nodes, in simulated time; seeded and reproducible
samples      contents and their keys
conformance  transcripts of conversations, played with any server that a command line starts
"""
