"""Released checkpoints in and out: files, layouts, and the formats that others write."""
