"""Receive, validate, store, index, announce: STOW-RS and resumable uploads through the archive's one writer."""
