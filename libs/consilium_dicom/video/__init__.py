"""What a video says of itself: codec, profile, level, size, rate, frames and where it can be entered, read from the bit stream.

Flows in: the fragments of encapsulated pixel data (``source``); flows out: one ``VideoStream`` (``read``). Containers: MP4, MPEG-TS,
MPEG program stream, bare streams; codecs: H.264, HEVC, MPEG-2. Nothing is decoded, and every loop has a bound.
"""
