"""POST /v1/explain: why a version answers so. It shows rows that it learned from, so it needs the scope admin."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from retune.serving import explainer
from retune.serving.answers import ServedVersion, TooLate
from retune.serving.encoder_engine import EncoderEngine
from retune.serving.explainer import Explainer, Explanation
from retune.serving.live_version import LiveVersion
from tasks.serve.errors import RequestRefused
from tasks.serve.predict_routes import Plain
from tasks.serve.service import Service

Open = Callable[[object, ServedVersion], Explainer]


class ExplainRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"text": "Where is my parcel?"}]}
    )
    text: str
    model: Annotated[Plain | None, Field(description="Name of the model, where several are served.")] = None


class ExplainResponse(BaseModel):
    request_id: str
    version: str
    label: str
    words: Annotated[list[dict[str, Any]], Field(description="word, place, loss: what the label loses without it.")]
    neighbours: Annotated[
        list[dict[str, Any]], Field(description="id, similarity, source, label, text of rows that it learned from.")
    ]
    missing: Annotated[str, Field(description="Why rows are not shown; empty if all are.")]


class Explainers:
    """One version is explained at a time, and one is kept: it holds the frozen base."""

    def __init__(self, open_explainer: Open) -> None:
        self._open, self._lock = open_explainer, asyncio.Lock()
        self._served: ServedVersion | None = None
        self._explainer: Explainer | None = None

    async def explain(self, live: LiveVersion, text: str, deadline: float) -> tuple[ServedVersion, str, Explanation]:
        """The version, its label and why. Raises TooLate, RequestRefused for a version that is no classifier here."""
        engine = live.engine
        if not isinstance(engine, EncoderEngine):
            raise RequestRefused(422, "invalid", f"{engine.served} cannot be explained: it labels no texts here")
        try:
            async with asyncio.timeout_at(deadline), self._lock:
                (answer,) = await engine.answer([text], deadline)
                if self._explainer is None or self._served != engine.served:
                    self._explainer = await asyncio.to_thread(self._open, engine.model, engine.served)
                    self._served = engine.served
                reasons = await asyncio.to_thread(self._explainer.explain, text, answer.label)
        except TimeoutError:
            raise TooLate("the explanation was not ready in time: ask again, its base is loaded then") from None
        return engine.served, answer.label, reasons


def routes(service: Service, open_explainer: Open = explainer.of_version) -> APIRouter:
    router = APIRouter(dependencies=[Depends(service.needs("admin"))])
    explainers = Explainers(open_explainer)

    @router.post("/v1/explain", response_model=ExplainResponse)
    async def explain(body: ExplainRequest, request: Request) -> JSONResponse:
        """The words that carried the label, and the rows nearest to the text among those that the version learned."""
        service.check_texts([body.text])
        live = service.model(body.model)
        served, label, reasons = await explainers.explain(live, body.text, request.state.deadline)
        content = {"request_id": request.state.request_id, "version": str(served), "label": label, **asdict(reasons)}
        return JSONResponse(content)

    return router
