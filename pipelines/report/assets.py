"""What the pages are made of: files of this package, templates that escape, and a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from collections.abc import Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from pipelines.report.verdict import percent
from transforms.measures.remarks import plural


def asset(name: str) -> str:
    """Returns a file of this package as text."""
    return importlib.resources.files(__package__).joinpath(name).read_text("utf-8").replace("\r", "")


def environment() -> jinja2.Environment:
    """Returns where templates are rendered: everything is escaped, a missing value is an error."""
    found = jinja2.Environment(
        loader=jinja2.FunctionLoader(asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"whole": lambda value: f"{value:,}", "percent": percent, "number": number, "plural": plural}
    return found


def render_plain(template: str, **fields: Any) -> str:
    """Returns a page that runs nothing, from a template with head.html; ``fields`` are ``title`` and its own."""
    style = asset("page.css")
    policy = content_policy(scripts=(), styles=(style,))
    return environment().get_template(template).render(style=Markup(style), policy=policy, **fields)


def data_address(content: bytes, kind: str) -> str:
    """Returns a picture as an address; ``kind`` is of ``image/``, as ``jpeg``."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def number(value: float | None) -> str:
    """Returns a figure with three decimals, a dash for None."""
    return "–" if value is None else f"{value:.3f}"


def signed(share: float | None) -> str:
    """Returns a difference of shares in percentage points with its sign, a dash for None."""
    return "–" if share is None else f"{100 * share:+.1f}".replace("+0.0", "0.0").replace("-0.0", "0.0")


def signed_interval(ends: Sequence[float | None]) -> str:
    """Returns the ends of an interval of differences, a dash when it is undefined."""
    return "–" if None in ends else " to ".join(map(signed, ends))


def chance(p_value: float) -> str:
    """Returns a p-value, the small ones as such."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.2g}"


def content_policy(scripts: tuple[str, ...], styles: tuple[str, ...]) -> str:
    """Returns a page's policy: nothing is fetched, only scripts and styles of these very contents run."""
    return "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"script-src {_hashes(scripts)}",
            f"style-src-elem {_hashes(styles)}",
            "style-src-attr 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _hashes(contents: tuple[str, ...]) -> str:
    digests = (base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() for content in contents)
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
