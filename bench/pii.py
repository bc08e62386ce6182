"""How much of the personal data in a labelled set is recognised, and how fast, beside Presidio in the same run.

    pip install presidio-analyzer
    python bench/pii.py FOLDER      # of JSON files of presidio-research: [{"full_text": ..., "spans": [...]}, ...]

A value counts as recognised when spans of its type cover each letter and digit of it; a span counts as right when it
shares a letter or digit with a value of its type. Presidio runs without a model of language (`NoOpNlpEngine`): what
remains are its patterns, checksums and context words. `--errors` lists what is missed and what is wrong.
"""

import argparse
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from retune.config.personal_data import Pii
from retune.data.pii import detection, redaction, spans

TYPES = {  # of the set, and of Presidio -> ours
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "card",
    "IBAN_CODE": "iban",
    "US_SSN": "national_id",
    "IP_ADDRESS": "ip",
    "ADDRESS": "address",
    "STREET_ADDRESS": "address",
}
Found = Iterable[tuple[str, int, int]]  # type, start and end
CONFIG = Pii(
    **dict.fromkeys(spans.TYPES, "redact"),
    keep=[],
    phone_regions=["US", "GB", "DE", "FR", "ES", "IT", "NL", "PL", "BR", "IN"],
    secret_env=None,
    names_model=None,
)


def read(folder: Path) -> list[tuple[str, list[tuple[str, int, int]]]]:
    rows = [row for file in sorted(folder.glob("*.json")) for row in json.loads(file.read_text("utf-8"))]
    return [
        (
            row["full_text"],
            [
                (TYPES[span["entity_type"]], span["start_position"], span["end_position"])
                for span in row["spans"]
                if span["entity_type"] in TYPES
            ],
        )
        for row in rows
    ]


def score(rows: list[Any], find: Callable[[str], Found], errors: bool) -> dict[str, dict[str, float]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    start = time.perf_counter()
    answers = [[*find(text)] for text, _ in rows]
    seconds = time.perf_counter() - start
    for (text, values), recognised in zip(rows, answers, strict=True):
        for kind in {*TYPES.values()}:
            expected = [characters(text, *place) for name, *place in values if name == kind]
            answered = [characters(text, *place) for name, *place in recognised if name == kind]
            for place in expected:
                hit = place <= set().union(*answered)
                counts[kind]["values"] += 1
                counts[kind]["recognised"] += hit
                if errors and not hit and kind != "address":
                    print(f"missed {kind}: {text[max(0, min(place) - 40) : max(place) + 20]!r}")
            for place in answered:
                right = bool(place & set().union(*expected))
                counts[kind]["spans"] += 1
                counts[kind]["right"] += right
                if errors and not right:
                    print(f"wrong {kind}: {text[max(0, min(place) - 40) : max(place) + 20]!r}")
    print(f"{len(rows) / seconds:.0f} rows/s")
    return {kind: dict(counter) for kind, counter in counts.items()}


def characters(text: str, start: int, end: int) -> set[int]:
    return {place for place in range(start, end) if text[place].isalnum()}


def ours(text: str) -> Found:
    return [(span.type, span.start, span.end) for span in detection.find(text, CONFIG)]


def presidio() -> Callable[[str], Found]:
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NoOpNlpEngine

    engine = AnalyzerEngine(
        nlp_engine=NoOpNlpEngine([{"lang_code": "en", "model_name": "none"}]), supported_languages=["en"]
    )
    names = [name for name in TYPES if name in engine.get_supported_entities("en")]

    def find(text: str) -> Found:
        return [(TYPES[each.entity_type], each.start, each.end) for each in engine.analyze(text, "en", entities=names)]

    return find


def table(scores: dict[str, dict[str, dict[str, float]]]) -> str:
    lines = [f"{'type':12} {'values':>6} " + " ".join(f"{f'{tool} recall':>16} {'precision':>9}" for tool in scores)]
    for kind in sorted({*TYPES.values()}):
        cells = []
        for each in scores.values():
            counts = Counter(each.get(kind, {}))
            cells.append(f"{counts['recognised'] / max(counts['values'], 1):16.4f}")
            cells.append(f"{counts['right'] / counts['spans'] if counts['spans'] else float('nan'):9.4f}")
        lines.append(f"{kind:12} {next(iter(scores.values()))[kind]['values']:6} " + " ".join(cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--errors", action="store_true")
    arguments = parser.parse_args()
    rows = read(arguments.folder)
    scores = {"ours": score(rows, ours, arguments.errors)}
    try:
        scores["presidio"] = score(rows, presidio(), errors=False)
    except ImportError:
        print("Presidio is not installed: pip install presidio-analyzer")
    print(table(scores))
    start = time.perf_counter()
    for text, _ in rows:
        redaction.redact(text, CONFIG)
    print(f"redaction: {len(rows) / (time.perf_counter() - start):.0f} rows/s")


if __name__ == "__main__":
    main()
