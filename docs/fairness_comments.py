"""Makes a CSV of comments with identity terms and the toxicity that a biased classifier gives them.

    python docs/fairness_comments.py comments.csv

Templates and scores are drawn from a seed; nobody wrote the comments. The classifier has seen some terms mostly in
toxic comments, so that it scores a harmless comment with such a term higher: accuracy hides it, the false positive
rate of the term shows it.
"""

from __future__ import annotations

import csv
import math
import random
import sys
from pathlib import Path

TERMS = ("gay", "muslim", "deaf", "american", "tall")
BIASED = {"gay": 2.2, "muslim": 1.4}
"""How much a term raises the score's log-odds, whatever the comment says."""

_KIND = ("I am a {} person", "my {} neighbour baked a cake", "a {} friend of mine plays chess", "we met {} people")
_TOXIC = ("{} people should shut up", "what an awful {} idiot", "nobody wants {} people here", "go away, {} fool")


def comments(number: int = 4000, seed: int = 0) -> list[dict[str, object]]:
    """Returns rows: comment, toxic (0 or 1), toxicity (0 to 1), weight, and 0 or 1 a term."""
    chance = random.Random(seed)
    rows: list[dict[str, object]] = []
    for index in range(number):
        term = chance.choice(TERMS)
        toxic = chance.random() < (0.6 if term in BIASED else 0.25)
        text = chance.choice(_TOXIC if toxic else _KIND).format(term)
        odds = chance.gauss(2.2 if toxic else -2.2, 1.3) + BIASED.get(term, 0.0)
        score = round(1 / (1 + math.exp(-odds)), 3)
        here = {name: int(name == term) for name in TERMS}
        weight = chance.choice((1, 1, 2))
        rows.append({"id": index, "comment": text, "toxic": int(toxic), "toxicity": score, "raters": weight} | here)
    return rows


def main() -> None:
    """Writes the file that the command line names."""
    rows = comments()
    with Path(sys.argv[1]).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
