"""The P2P protocol over streams: peers, a server for any `Service`, and a `Service` for a remote repository."""
