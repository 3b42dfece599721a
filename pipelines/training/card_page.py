"""The model card as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from markdown_it import MarkdownIt
from markupsafe import Markup

from pipelines.report.assets import data_address, render_plain


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
            body = body.replace(f'src="{name}"', f'src="{data_address(data, "svg+xml")}"')
    return render_plain("card.html", title=title, body=Markup(body))
