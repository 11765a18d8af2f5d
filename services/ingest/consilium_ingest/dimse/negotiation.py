"""Who may associate, and for which presentation contexts (PS3.8 7.1.1, PS3.4 B.3), pure.

Of the transfer syntaxes that a context proposes, the first one that the archive stores is accepted: objects come as their sender
holds them, nothing is transcoded here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from consilium_dicom.sop_classes import is_private, is_storage
from consilium_dicom.uids import TRANSFER_SYNTAXES
from consilium_ingest.dimse.errors import AssociationRefused
from consilium_ingest.dimse.incoming import NOT_FOR_STORAGE
from consilium_ingest.dimse.pdu import APPLICATION_CONTEXT, Answered, Proposed, Request, Result
from consilium_ingest.dimse.settings import ANY, PeerRule

_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")


def tenant_of(rules: Sequence[PeerRule], address: str, request: Request) -> str:
    """Return whose objects the peer may store: the first rule that fits in all three; raise AssociationRefused (PS3.8 9.3.4)."""
    if not request.version & 1:
        raise AssociationRefused("The peer speaks another version of the protocol.", (1, 2, 2))
    if request.application != APPLICATION_CONTEXT:
        raise AssociationRefused("The application context is not DICOM's.", (1, 1, 2))
    fits = [(rule, rule.fits_titles(request.called, request.calling)) for rule in rules if rule.fits_address(address)]
    for rule, titles in fits:
        if titles == (True, True):
            return rule.tenant
    if any(calling for _, (_, calling) in fits):
        raise AssociationRefused("No rule allows the called AE title to this peer.", (1, 1, 7))
    why = "calling AE title" if fits else "address"
    raise AssociationRefused(f"No rule allows the peer's {why}.", (1, 1, 3))


def answer_contexts(contexts: Sequence[Proposed], private: Sequence[str]) -> list[Answered]:
    """Return the answer to each presentation context, in the order sent."""
    return [_answer(context, private) for context in contexts]


def _answer(context: Proposed, private: Sequence[str]) -> Answered:
    known: Sequence[str] | Mapping[str, object]
    if context.abstract in NOT_FOR_STORAGE:
        known = _UNCOMPRESSED
    elif is_storage(context.abstract) or (is_private(context.abstract) and {context.abstract, ANY} & set(private)):
        known = TRANSFER_SYNTAXES
    else:
        return Answered(context.id, Result.ABSTRACT_SYNTAX_NOT_SUPPORTED, "")
    for syntax in context.syntaxes:
        if syntax in known:
            return Answered(context.id, Result.ACCEPTED, syntax)
    return Answered(context.id, Result.TRANSFER_SYNTAXES_NOT_SUPPORTED, "")
