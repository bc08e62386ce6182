"""POST /v1/predict: labels for texts."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from retune.serving.answers import Answer
from tasks.serve.service import Service

Plain = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00]*$")]


class PredictRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"texts": ["Where is my parcel?"], "subject": "customer-17"}]},
    )
    texts: Annotated[list[str], Field(min_length=1, description="What to label, in the order of the results.")]
    subject: Annotated[
        Plain | None, Field(description="Who asks, by an id of yours: one subject stays with one version in a rollout.")
    ] = None
    model: Annotated[Plain | None, Field(description="Name of the model, where several are served.")] = None


class Result(BaseModel):
    label: str
    confidence: Annotated[float, Field(ge=0, le=1, description="Calibrated probability that the label is right.")]
    route: Annotated[str, Field(description="auto: the answer may go out unread; human: a person must read it.")]


class PredictResponse(BaseModel):
    request_id: str
    results: list[Result]
    version: Annotated[str, Field(description="NAME/VERSION that gave all of the results.")]
    seal: Annotated[str, Field(description="SHA-256 of the version's list of checksums.")]


def routes(service: Service) -> APIRouter:
    router = APIRouter(dependencies=[Depends(service.needs("predict"))])

    @router.post("/v1/predict", response_model=PredictResponse)
    async def predict(body: PredictRequest, request: Request) -> JSONResponse:
        """Label texts. All results of a request come from one version."""
        routed = await service.answer(request, body.texts, body.subject, body.model)
        return JSONResponse(
            {
                "request_id": request.state.request_id,
                "results": [as_json(answer) for answer in routed.answers],
                "version": str(routed.served),
                "seal": routed.served.seal,
            }
        )

    return router


def as_json(answer: Answer) -> dict[str, str | float]:
    return {"label": answer.label, "confidence": answer.confidence, "route": answer.route}
