"""Images that have no result, by class of failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines.report.page import Section


def dead_letters(numbers: Mapping[str, int], reasons: Sequence[Mapping[str, str]] = ()) -> Section | None:
    """Returns the section; None without any.

    Args:
      numbers: of images, by class.
      reasons: of some of them: image_uri, error_class and error_message.
    """
    if not numbers:
        return None
    return Section(
        id="dead",
        title="Images without a prediction",
        short="Dead letters",
        template="dead_letters",
        data={
            "rows": [[name, (f"{number:,}", number)] for name, number in numbers.items()],
            "reasons": [[entry["error_class"], entry["image_uri"], entry["error_message"]] for entry in reasons],
        },
    )
