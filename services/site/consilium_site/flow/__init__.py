"""What happens, one verb per file: capture, publish, poll, execute, upload, report."""
