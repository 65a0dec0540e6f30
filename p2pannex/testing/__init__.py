"""Published for those who implement a part of this themselves: a store, a transport, a client, a server.

services     is it a Service? the suite that every store, remote and cluster is held to
serving      a service behind the protocol, in one process
pair         two ends of a conversation, joined: over bytes alone, and over every transport
faults       connections that break at any byte, operations that are cancelled at any point
simulator    clusters whose clocks, lines, disks and nodes misbehave, on a clock that jumps; seeded and replayable
samples      contents and their keys
conformance  transcripts of conversations, held against any server's command line
"""
