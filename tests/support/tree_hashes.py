"""What a folder holds, as hashes."""

import hashlib


def file_hashes(folder):
    """name -> sha256 of every file below a folder."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
