"""Content in files: what every store on a file system has in common."""
