"""Brings the videos that a source names to this machine, whatever their servers do."""

from hummingbird.data.fetching.fetch import Fetched, fetch, forget, forget_unfinished

__all__ = ["Fetched", "fetch", "forget", "forget_unfinished"]
