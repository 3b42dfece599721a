"""The model card as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from markdown_it import MarkdownIt
from markupsafe import Markup

from pipelines.report.assets import asset, content_policy, environment


def card_page(title: str, card: str, files: Mapping[str, bytes]) -> str:
    """Returns the page.

    Args:
      title: of the page.
      card: Markdown; HTML in it is shown, not obeyed, since labels come from strangers.
      files: of the model's directory, by name; an SVG that the card shows is put into the page.
    """
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(card)
    for name, data in files.items():
        if name.endswith(".svg"):
            body = body.replace(f'src="{name}"', f'src="data:image/svg+xml;base64,{base64.b64encode(data).decode()}"')
    style = asset("page.css")
    template = environment().from_string(asset("card.html"))
    policy = content_policy(scripts=(), styles=(style,))
    return template.render(title=title, body=Markup(body), style=Markup(style), policy=policy)
