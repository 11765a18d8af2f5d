"""De-identification by PS3.15 annex E: the Basic Application Level Confidentiality Profile with its options.

Flows in: the bytes of one file, ``Options`` and a secret ``key``; flows out: ``Deidentified`` (``run``): new bytes, what was done to
each element, what risk is left, and whether a person must look. ``table_e1`` is the standard's table, ``rules`` decides one
element, ``walk`` writes a data set anew, ``words`` finds identities in free text, ``masks`` and ``profiles`` black out pixels, and
``text_finder`` looks for text that is burnt into them. No guarantee is given: the residual risks are part of the result.
"""
