"""What people may know and decide of the stored originals: where they stand, legal holds, tombstones."""
