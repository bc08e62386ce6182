"""POST /invocations: the contract of MLflow's scoring server, so that its clients need no change.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/ (Inference Server Specification). CSV is not taken.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from tasks.serve.errors import RequestRefused
from tasks.serve.predict_routes import Result, as_json
from tasks.serve.service import Service

COLUMN = "text"


class Split(BaseModel):
    model_config = ConfigDict(strict=True)
    columns: list[str]
    data: list[list[Any]]


class InvocationRequest(BaseModel):
    """One of the four, as MLflow's clients send them."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"inputs": ["Where is my parcel?"]}]}
    )
    dataframe_split: Split | None = None
    dataframe_records: list[dict[str, Any]] | None = None
    instances: Annotated[list[Any] | None, Field(description="Texts, or objects with a text.")] = None
    inputs: Annotated[list[Any] | dict[str, Any] | None, Field(description='Texts, or {"text": [texts]}.')] = None
    params: dict[str, Any] | None = None


class InvocationResponse(BaseModel):
    predictions: list[Result]


def routes(service: Service) -> APIRouter:
    router = APIRouter(dependencies=[Depends(service.needs("predict"))])

    @router.post("/invocations", response_model=InvocationResponse)
    async def invocations(body: InvocationRequest, request: Request, model: str | None = None) -> JSONResponse:
        """Label texts, as MLflow's scoring server does. model: where several are served."""
        routed = await service.answer(request, texts_of(body), None, model)
        return JSONResponse({"predictions": [as_json(answer) for answer in routed.answers]})

    return router


def texts_of(body: InvocationRequest) -> list[str]:
    """Raises RequestRefused unless the body holds exactly one form, with at least one text."""
    forms = (body.dataframe_split, body.dataframe_records, body.instances, body.inputs)
    if sum(form is not None for form in forms) != 1:
        raise _wrong("write one of dataframe_split, dataframe_records, instances and inputs")
    values = _of_split(body.dataframe_split) if body.dataframe_split is not None else _of_rows(body)
    if not values:
        raise _wrong("there is no text")
    for number, value in enumerate(values):
        if not isinstance(value, str):
            raise _wrong(f"text {number} is {type(value).__name__}, no string")
    return values


def _of_split(split: Split) -> list[Any]:
    if split.columns.count(COLUMN) != 1:
        raise _wrong(f"dataframe_split.columns must name {COLUMN} once")
    place = split.columns.index(COLUMN)
    if any(len(row) != len(split.columns) for row in split.data):
        raise _wrong("a row of dataframe_split.data has not one value a column")
    return [row[place] for row in split.data]


def _of_rows(body: InvocationRequest) -> list[Any]:
    if isinstance(body.inputs, dict):
        column = body.inputs.get(COLUMN)
        if column is None:
            raise _wrong(f"inputs has no {COLUMN}")
        return column if isinstance(column, list) else [column]
    rows = next(rows for rows in (body.dataframe_records, body.instances, body.inputs) if rows is not None)
    return [row.get(COLUMN) if isinstance(row, dict) else row for row in rows]


def _wrong(message: str) -> RequestRefused:
    return RequestRefused(422, "invalid", f"{message}: see /docs for an example")
