"""What cells came to: published once, read back from folders in any state, and as a frame."""

from tlx.records.frame import load
from tlx.records.reading import Reading, read
from tlx.records.store import FORMAT, Records, content_id

__all__ = ["FORMAT", "Reading", "Records", "content_id", "load", "read"]
