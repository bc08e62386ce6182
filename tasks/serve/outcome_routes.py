"""POST /v1/outcome: what came of an answer for the business, as a number by name."""

import time
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from retune.serving import outcomes
from retune.serving.outcomes import Outcome
from tasks.serve.feedback_routes import RequestId, must_be_served
from tasks.serve.service import Service


class OutcomeRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"request_id": "4f1c0d", "name": "minutes", "number": 12.5}]},
    )
    request_id: RequestId
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Of the metric, such as resolved.")]
    number: Annotated[
        float, Field(allow_inf_nan=False, strict=True, description="The last one of a request and name counts.")
    ]


class OutcomeResponse(BaseModel):
    status: Annotated[str, Field(description="recorded: it is on disk.")]
    request_id: str


def routes(service: Service) -> APIRouter:
    router = APIRouter(dependencies=[Depends(service.needs("feedback"))])

    @router.post("/v1/outcome", response_model=OutcomeResponse)
    async def record(body: OutcomeRequest) -> OutcomeResponse:
        """Say what came of an answer. The answer comes when the number is on disk."""
        await must_be_served(service.quarantine, body.request_id, 0)
        outcome = Outcome(body.request_id, body.name, body.number, time.time())
        await run_in_threadpool(outcomes.put, service.quarantine.engine, [outcome])
        return OutcomeResponse(status="recorded", request_id=body.request_id)

    return router
