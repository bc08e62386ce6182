"""The ASGI app. Each module of routes has `routes(service)`; its line stands in ROUTES."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from tasks.serve import (
    errors,
    explain_routes,
    feedback_routes,
    invocation_routes,
    openai_routes,
    operation_routes,
    outcome_routes,
    predict_routes,
    try_routes,
)
from tasks.serve.edge import Edge
from tasks.serve.service import Service

ROUTES = (
    predict_routes.routes,
    invocation_routes.routes,
    openai_routes.routes,
    explain_routes.routes,
    feedback_routes.routes,
    outcome_routes.routes,
    operation_routes.routes,
    try_routes.routes,
)
ABOUT = "Labels and answers for texts, by registered versions. Every answer names the version and the request."


def make_app(service: Service) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        seconds = service.config.follow_seconds
        followed = [live for live in service.models.values() if "@" in live.reference and seconds]
        tasks = [asyncio.create_task(live.follow(seconds)) for live in followed]
        tasks += [asyncio.create_task(arms.follow(service.rollout.look_seconds)) for arms in service.arms.values()]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await service.close()

    app = FastAPI(title="Retune", description=ABOUT, version="1", lifespan=lifespan, redoc_url=None)
    app.add_middleware(Edge, config=service.config, metrics=service.metrics, hosts=service.access.hosts)
    errors.add_handlers(app)
    for routes in ROUTES:
        app.include_router(routes(service))
    return app
