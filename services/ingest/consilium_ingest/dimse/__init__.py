"""The DIMSE door of ingest: a C-STORE and C-ECHO SCP on a lean upper layer of its own (PS3.7, PS3.8), off by default.

``stream`` finds PDUs and fragments in what a socket gives, ``incoming`` makes messages of them, ``association`` answers one peer,
``server`` holds all of them. Objects go through the archive's one writer, exactly as those of STOW-RS.
"""
