"""What a model folder says of itself: model.json. Light, so that the flow can read it without torch."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from tasks.core.errors import Refused, WrongUse


@dataclass(frozen=True)
class Card:
    method: str  # probe, lora or full
    labels: list[str]  # in the order of the head's rows
    base_name: str
    base_sha256: str  # of the base's weights
    max_tokens: int  # longer texts are cut


def write_card(card: Card, folder: Path) -> None:
    text = json.dumps(card.__dict__, indent=2, ensure_ascii=False)
    (folder / "model.json").write_text(text + "\n", "utf-8")


def read_card(folder: Path) -> Card:
    """Raises WrongUse if `folder` is no model folder, Refused if its card is damaged."""
    try:
        return Card(**json.loads((folder / "model.json").read_text("utf-8")))
    except FileNotFoundError:
        raise WrongUse(f"{folder} is no model folder: it has no model.json") from None
    except (json.JSONDecodeError, TypeError) as error:
        raise Refused(f"{folder / 'model.json'} is damaged: {error}") from None


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
