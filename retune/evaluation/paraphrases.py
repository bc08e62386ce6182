"""Test rows in other words, in the files of `evaluate.robustness.paraphrases`."""

import csv
import io

from retune.config.evaluation import Paraphrases
from retune.errors import Refused
from retune.system import named_file


def read(config: Paraphrases) -> dict[str, str]:
    """id or text of a row -> its paraphrase.

    Raises WrongUse for another file than the one named, Refused for one without columns.
    """
    path, content = config.path, named_file.read(config.path, config.sha256, "evaluate.robustness.paraphrases")
    try:
        lines = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refused(f"the paraphrases in {path} are not a CSV file in UTF-8: {error}") from None
    key = next((name for name in ("id", "text") if lines and name in lines[0]), None)
    if key is None or "paraphrase" not in lines[0]:
        raise Refused(f"{path} must have the columns paraphrase, and id or text: give it a header with these names")
    return {line[key]: line["paraphrase"] for line in lines if line[key] and (line["paraphrase"] or "").strip()}
