"""POST /v1/feedback: what a person says of an answer, into quarantine."""

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field, model_validator

from retune.errors import Refused
from retune.serving.feedback import HOUR, Feedback
from retune.serving.quarantine import Quarantine
from tasks.serve.errors import RequestRefused, retry_after
from tasks.serve.service import Service

UNTIL_LOGGED = 3.0  # seconds until an answer stands in the log, also of a busy server
PAUSE = 0.2  # seconds between two looks
SAYS_NOTHING = "say something: label, rating or note"
Words = Annotated[str, Field(min_length=1, max_length=20000, pattern=r"^[^\x00]*$")]
RequestId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="That of the answer.")]
Word = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00]*$")]


class FeedbackRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"request_id": "4f1c0d", "label": "refunds", "who": "ada@example.com"}]},
    )
    request_id: RequestId
    position: Annotated[int, Field(ge=0, strict=True, description="Of the text in its request, from 0.")] = 0
    label: Annotated[Words | None, Field(description="The label that should have come, or a better text.")] = None
    rating: Annotated[float | None, Field(ge=0, le=1, strict=True, description="From 0, bad, to 1, good.")] = None
    note: Annotated[Words | None, Field(description="For the reviewer.")] = None
    who: Annotated[Word | None, Field(description="Who says it: a hash is kept. Not given: the caller.")] = None

    @model_validator(mode="after")
    def _says_something(self) -> "FeedbackRequest":
        if self.label is None and self.rating is None and self.note is None:
            raise ValueError(SAYS_NOTHING)
        return self


class FeedbackResponse(BaseModel):
    feedback_id: str
    status: Annotated[str, Field(description="quarantined: reviewers decide; known: it was said before.")]
    request_id: str


def routes(service: Service) -> APIRouter:
    router = APIRouter(dependencies=[Depends(service.needs("feedback"))])

    @router.post("/v1/feedback", response_model=FeedbackResponse)
    async def say(body: FeedbackRequest, request: Request) -> FeedbackResponse:
        """Say that an answer was wrong, or good. The answer comes when the feedback is on disk."""
        await must_be_served(service.quarantine, body.request_id, body.position)
        words = body.model_dump(include={"request_id", "position", "label", "rating", "note"})
        piece = Feedback(**words, person=body.who or request.state.caller, time=0.0)
        try:
            piece, is_new = await run_in_threadpool(service.quarantine.take, piece)
        except Refused as refusal:
            raise RequestRefused(429, "rate_limited", str(refusal), retry_after(HOUR)) from None
        status = "quarantined" if is_new else "known"
        return FeedbackResponse(feedback_id=piece.id, status=status, request_id=body.request_id)

    return router


async def must_be_served(quarantine: Quarantine, request_id: str, position: int) -> None:
    """Wait for the log, which is written in batches. Raises RequestRefused if it has no such answer."""
    end = time.monotonic() + UNTIL_LOGGED
    while not await run_in_threadpool(quarantine.holds_answer, request_id, position):
        if time.monotonic() > end:
            message = f"the log has no answer {position} to a request {request_id}: send the request_id of the answer"
            raise RequestRefused(404, "not_found", message)
        await asyncio.sleep(PAUSE)
