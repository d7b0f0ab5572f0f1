"""The doors of whisperkit on real databases, each adapter a single file."""
