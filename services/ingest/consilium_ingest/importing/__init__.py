"""Import of folders, ZIP archives and media with a DICOMDIR: find, preview, store, go on after an interruption; needs no HTTP."""
