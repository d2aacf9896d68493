"""What a run is, on disk and in memory, and everything that reads it."""
