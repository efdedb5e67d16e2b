"""`/api-docs` and `/api-docs.json`: Swagger UI from our own origin, without inline script."""

from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Conforme API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/api-docs/assets/swagger-ui.css">
</head>
<body>
<div id="reference"></div>
<script src="/api-docs/assets/swagger-ui-bundle.js"></script>
<script src="/api-docs/start.js"></script>
</body>
</html>
"""
START = """
window.addEventListener("load", () => {
  SwaggerUIBundle({ url: "/api-docs.json", dom_id: "#reference", deepLinking: true, persistAuthorization: false });
});
"""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Swagger UI sets styles on its elements, and draws its marks as `data:` images."""


def mount_docs(app: FastAPI) -> None:
    """Serves the reference; it is public, and shows no data."""
    assets = Path(str(files("fastapi_offline") / "static"))
    app.mount("/api-docs/assets", StaticFiles(directory=assets), name="api-docs-assets")

    @app.get("/api-docs", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})

    @app.get("/api-docs/start.js", include_in_schema=False)
    async def start() -> Response:
        return Response(START, media_type="text/javascript")
