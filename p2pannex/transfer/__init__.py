"""Content between Services and files: sending, retrieving, copying, and removal while another copy is locked."""
