"""What is kept: segments of the anonymised stream, sealed originals, retention, and the audit of it all."""
