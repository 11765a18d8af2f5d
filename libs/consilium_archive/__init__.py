"""The image archive: index tables, object layout, one writer, one reader.

Data goes one way by type: ``Received -> Validated -> Stored -> Indexed`` (``stages``). Originals are immutable objects named by
their SHA-256; the index holds what QIDO-RS and WADO-RS metadata answer without opening an object.
"""
