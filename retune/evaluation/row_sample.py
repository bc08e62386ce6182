"""Rows drawn by the hash of a seed and their ids: the same ones for every model, whatever rows stand beside them."""

import hashlib

import pandas as pd


def drawn(ids: pd.Series, rows: int, seed: int) -> pd.Series:
    """[rows] of bool: the rows with the smallest hashes, at most `rows` of them."""
    hashes = ids.map(lambda name: hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).hexdigest())
    return hashes.rank(method="first") <= rows
