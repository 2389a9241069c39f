"""Where metrics go while a study runs, besides its own files."""
