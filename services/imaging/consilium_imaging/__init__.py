"""The read side: QIDO-RS, WADO-RS, rendered frames, the worklist of studies."""
