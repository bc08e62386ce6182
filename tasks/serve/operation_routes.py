"""/health, /ready and /metrics: for who runs the server."""

import asyncio
from typing import Any

from fastapi import APIRouter, Depends, Response
from fastapi.responses import JSONResponse

from retune.serving.live_version import LiveVersion
from retune.serving.upstream import UpstreamWriter
from tasks.serve.metrics import CONTENT_TYPE
from tasks.serve.service import Service

PATIENCE = 2.0  # seconds with an upstream server


def routes(service: Service) -> APIRouter:
    router = APIRouter()

    @router.get("/health")
    async def health() -> dict[str, str]:
        """The process runs and its loop turns."""
        return {"status": "ok"}

    @router.get("/ready", responses={503: {"description": "The server ends: send no further requests."}})
    async def ready() -> JSONResponse:
        """Whether to send requests here, and which versions answer."""
        models: list[dict[str, Any]] = [
            {
                "model": name,
                "reference": live.reference,
                "version": str(live.served),
                "seal": live.served.seal,
                "failure": live.failure,  # of a version that should have taken over
                "rollout": service.arms[name].state(),
                **await _upstream(live),
            }
            for name, live in service.models.items()
        ]
        status = "ending" if service.draining else "ready"
        return JSONResponse({"status": status, "models": models}, 503 if service.draining else 200)

    @router.get("/metrics", dependencies=[Depends(service.needs("admin"))], response_class=Response)
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    return router


async def _upstream(live: LiveVersion) -> dict[str, Any]:
    """What the server that writes for a version says of it."""
    if not isinstance(live.engine, UpstreamWriter):
        return {}
    check = await live.engine.check(asyncio.get_running_loop().time() + PATIENCE)
    return {"upstream": {"problem": check.problem, "evidence": check.evidence}}
