"""GET /: a page to try the served versions by hand."""

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from retune.pages import page
from retune.serving.encoder_engine import EncoderEngine
from tasks.serve.service import Service

TEMPLATE = Path(__file__).with_name("try_routes.html")


def routes(service: Service) -> APIRouter:
    router = APIRouter()

    @router.get("/", response_class=HTMLResponse)
    async def try_it(request: Request) -> HTMLResponse:
        """A page to try it."""
        paths = request.app.openapi()["paths"]
        return HTMLResponse(html(service, "/v1/feedback" in paths))

    return router


def html(service: Service, takes_feedback: bool) -> str:
    engines = {name: live.engine for name, live in service.models.items()}
    labels = {
        name: engine.model.manifest.labels if isinstance(engine, EncoderEngine) else []
        for name, engine in engines.items()
    }
    versions = [str(engine.served) for engine in engines.values()]
    return page.render(
        TEMPLATE,
        versions=versions,
        labels=labels,
        needs_key=service.needs_key,
        takes_feedback=takes_feedback,
        most=service.config.max_chars,
    )
