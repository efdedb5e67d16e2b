"""The dossier of an audit as one self-contained page: no script, nothing fetched. Pure."""

import base64
import hashlib
from functools import cache

from jinja2 import Template
from markupsafe import Markup

from conforme.audits.dossier import Dossier
from conforme.audits.report import environment, template_text


def page_of(dossier: Dossier) -> str:
    """The page, in French."""
    style = template_text("report.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _template().render(
        **dossier.content,
        sha256=dossier.sha256,
        style=Markup(style),  # noqa: S704 -- our own file
        style_digest=Markup(digest),  # noqa: S704 -- our own file
    )


@cache
def _template() -> Template:
    return environment().from_string(template_text("dossier.html.j2"))
