"""``/api/v1/ingest/routing``: destinations with their health, rules, dry runs, why a study is not there, and trying again.

What names a study is audited before it is answered; a change is audited in its own transaction.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from consilium_core.clock import Clock
from consilium_core.roles import Permission, Principal
from consilium_dicom.uids import is_valid_uid
from consilium_ingest.errors import UidInvalid
from consilium_ingest.routing.answers import destination_out, dry_run_out, rule_out, trace_out
from consilium_ingest.routing.dry_run import forecast
from consilium_ingest.routing.errors import DestinationUnknown, DryRunBusy
from consilium_ingest.routing.evaluate import Destinations
from consilium_ingest.routing.places import backlog, known
from consilium_ingest.routing.rows import RuleRows, Wish
from consilium_ingest.routing.settings import DimseDestination, RoutingSettings, StowDestination
from consilium_ingest.routing.trace import retry, trace
from consilium_ingest.routing.wire import (
    DestinationOut,
    DestinationPage,
    DryRunIn,
    DryRunOut,
    RetryIn,
    RetryOut,
    RuleChange,
    RuleIn,
    RuleOut,
    RulePage,
    TraceOut,
)
from consilium_platform.audit import AuditLog
from consilium_platform.http.auth import require
from consilium_platform.sql import Database

_DRY_RUNS = 2  # each may read the metadata of very many instances
Cursor = Annotated[str, Query(max_length=20, pattern="^[0-9]*$")]
Version = Annotated[int, Query(ge=1)]


@dataclass(frozen=True)
class RoutingDesk:
    """What the addresses need of their room."""

    database: Database
    audit: AuditLog
    clock: Clock
    settings: RoutingSettings
    destinations: Destinations

    def destination(self, tenant: str, wish: Wish) -> StowDestination | DimseDestination:
        """Return where a rule sends to; raise DestinationUnknown."""
        found = self.destinations.get((tenant, wish.destination))
        if found is None:
            raise DestinationUnknown(
                f"No destination is called {wish.destination}. Whoever runs the server sets destinations up.",
                destination=wish.destination,
            )
        return found

    async def health(self, tenant: str) -> list[DestinationOut]:
        """Return the tenant's destinations as they stand."""
        mine = [to for (of, _), to in sorted(self.destinations.items()) if of == tenant]
        judged = self.settings.breaker, self.clock.now(), self.settings.currency
        found = await self.database.query(
            lambda session: [(known(session, tenant, to.name), backlog(session, tenant, to.name)) for to in mine]
        )
        return [destination_out(to, at, waiting, judged) for to, (at, waiting) in zip(mine, found, strict=True)]


def routing_router(desk: RoutingDesk) -> APIRouter:
    """Return the addresses."""
    router = APIRouter(prefix="/api/v1/ingest/routing", tags=["ingest"])
    reader = require(Permission.ROUTING_READ)
    _of_rules(router, desk)

    @router.get("/destinations")
    async def destinations(response: Response, who: Principal = Depends(reader)) -> DestinationPage:
        response.headers["Cache-Control"] = "no-store"
        return DestinationPage(items=await desk.health(who.tenant))

    @router.get("/studies/{study_uid}")
    async def study(
        study_uid: str, response: Response, cursor: Cursor = "", who: Principal = Depends(reader)
    ) -> TraceOut:
        _check(study_uid)
        found = await trace(desk.database, who.tenant, study_uid, desk.destinations, int(cursor or 0))
        await desk.audit.act(who, "routing.view", subject=study_uid, patient_id=found.patient_id)
        response.headers["Cache-Control"] = "no-store"
        return trace_out(found)

    @router.post("/studies/{study_uid}/retry")
    async def again(
        study_uid: str, body: RetryIn, who: Principal = Depends(require(Permission.ROUTING_EDIT))
    ) -> RetryOut:
        _check(study_uid)
        count = await retry(desk.database, desk.audit, desk.clock, who, study_uid, body.destination)
        return RetryOut(instances=count)

    return router


def _of_rules(router: APIRouter, desk: RoutingDesk) -> None:
    reader, editor = require(Permission.ROUTING_READ), require(Permission.ROUTING_EDIT)
    running = asyncio.Semaphore(_DRY_RUNS)
    rows = RuleRows(desk.database, desk.audit, desk.clock)

    @router.get("/rules")
    async def rules(response: Response, who: Principal = Depends(reader)) -> RulePage:
        response.headers["Cache-Control"] = "no-store"
        return RulePage(items=[rule_out(one) for one in await rows.all(who.tenant)])

    @router.post("/rules", status_code=201)
    async def add(body: RuleIn, response: Response, who: Principal = Depends(editor)) -> RuleOut:
        wish = body.wish()
        desk.destination(who.tenant, wish)
        made = await rows.add(who, wish)
        response.headers["Location"] = f"/api/v1/ingest/routing/rules/{made.id}"
        return rule_out(made)

    @router.post("/rules/dry-run")
    async def dry_run(body: DryRunIn, response: Response, who: Principal = Depends(reader)) -> DryRunOut:
        wish = body.rule.wish()
        to = desk.destination(who.tenant, wish)
        if running.locked():
            raise DryRunBusy("Other dry runs are under way. Try again in a moment.", retry_after_s=5)
        async with running:
            found = await forecast(desk.database, desk.clock, wish, to, body.days)
        detail = f"{wish.name} to {wish.destination}: {found.all.instances} instances of {body.days} days"
        await desk.audit.act(who, "routing.dry-run", detail=detail)
        response.headers["Cache-Control"] = "no-store"
        return dry_run_out(found, body.bytes_per_s, to.price_per_gb, desk.settings.currency)

    @router.get("/rules/{rule_id}")
    async def rule(rule_id: str, response: Response, who: Principal = Depends(reader)) -> RuleOut:
        response.headers["Cache-Control"] = "no-store"
        return rule_out(await rows.get(who.tenant, rule_id))

    @router.put("/rules/{rule_id}")
    async def change(rule_id: str, body: RuleChange, who: Principal = Depends(editor)) -> RuleOut:
        wish = body.wish()
        await rows.get(who.tenant, rule_id)
        desk.destination(who.tenant, wish)
        return rule_out(await rows.change(who, rule_id, body.version, wish))

    @router.delete("/rules/{rule_id}", status_code=204)
    async def remove(rule_id: str, version: Version, who: Principal = Depends(editor)) -> None:
        await rows.remove(who, rule_id, version)


def _check(study_uid: str) -> None:
    if not is_valid_uid(study_uid):
        raise UidInvalid("The path does not name a Study Instance UID.")
