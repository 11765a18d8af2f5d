"""DICOM and pixels, pure: bytes in, facts or bytes out; nothing here opens a socket, a database or a device.

What flows through: ``header`` (bytes -> Header), ``validate`` (bytes -> verdict), ``json_model`` (bytes -> PS3.18 F),
``frames`` (bytes -> where each frame lies), ``render`` (frame -> picture) and ``build`` (captured picture -> Part 10 file).
"""
