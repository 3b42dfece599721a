"""Images that have no result, by class of failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines.report.page import Section

PREDICTION, EMBEDDING = "a prediction", "an embedding"
_LEADS = {
    PREDICTION: "They count nowhere in the figures above. All of them, with their reasons, stand in errors_*.parquet "
    "beside the predictions.",
    EMBEDDING: "They are not in the table. Once the cause is gone, heliograph retry tries them again, and only them.",
}


def dead_letters(
    numbers: Mapping[str, int], reasons: Sequence[Mapping[str, str]] = (), lacking: str = PREDICTION
) -> Section | None:
    """Returns the section; None without any.

    Args:
      numbers: of images, by class.
      reasons: of some of them: image_uri, error_class and error_message.
      lacking: PREDICTION or EMBEDDING.
    """
    if not numbers:
        return None
    return Section(
        id="dead",
        title=f"Images without {lacking}",
        short="Dead letters",
        template="dead_letters",
        data={
            "lead": _LEADS[lacking],
            "rows": [[name, (f"{number:,}", number)] for name, number in numbers.items()],
            "reasons": [[entry["error_class"], entry["image_uri"], entry["error_message"]] for entry in reasons],
        },
    )
