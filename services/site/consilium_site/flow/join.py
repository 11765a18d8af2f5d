"""Who the agent is: the identity on disk, or a new one for a one-time code (SP-10, SP-11)."""

from __future__ import annotations

import asyncio

import structlog

from consilium_core.errors import ConsiliumError
from consilium_core.site_protocol import AgentDescription, EnrollReply
from consilium_site.domain.backoff import Backoff
from consilium_site.domain.identity import Identity, code_digest
from consilium_site.errors import EnrolmentRefused, NotEnrolled
from consilium_site.ports import Home, Server

log = structlog.get_logger(__name__)


async def join(
    state: Home, server: Server, server_url: str, code: str, agent: AgentDescription, backoff: Backoff
) -> tuple[Identity, EnrollReply | None]:
    """Return the identity, and the enrolment's reply when it is new.

    A code that was not used yet is tried first; when it is refused, an identity on disk is still good. Raises NotEnrolled
    without either, EnrolmentRefused for a refused code without identity. A silent server is asked again for ever.
    """
    known = await asyncio.to_thread(state.identity)
    digest = code_digest(code) if code else ""
    if not code or (known is not None and known.code_sha256 == digest):
        if known is None:
            raise NotEnrolled("This agent has no identity: give it a one-time code from the sites page.")
        return known, None
    nonce = await asyncio.to_thread(state.enrolment_nonce, digest)
    while True:
        try:
            reply = await server.enroll(code.strip(), nonce, agent)
            break
        except EnrolmentRefused as error:
            if known is None:
                raise
            log.warning("enrolment_refused", detail=error.detail)
            return known, None
        except ConsiliumError as error:
            delay_s = backoff.next_delay_s(getattr(error, "retry_after_s", 0.0))
            log.warning("enrolment_delayed", code=error.code, delay_s=round(delay_s, 2))
            await asyncio.sleep(delay_s)
    identity = Identity(
        site_id=reply.site_id,
        tenant=reply.tenant,
        name=reply.name,
        server_url=server_url,
        refresh_secret=reply.refresh_secret,
        code_sha256=digest,
        intervals=reply.intervals,
    )
    await asyncio.to_thread(state.save_identity, identity)
    log.info("enrolled", site_id=identity.site_id)
    return identity, reply
