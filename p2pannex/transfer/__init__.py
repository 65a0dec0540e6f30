"""Transfers between Services and files: send, retrieve, copy, and remove while another copy is locked."""
