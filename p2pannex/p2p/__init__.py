"""The P2P protocol over streams: a peer, a server for any `Service`, a remote `Service`, and connecting the two."""
