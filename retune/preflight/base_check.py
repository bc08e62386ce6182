"""What a training asks of its base before it costs time: positions for `train.max_tokens`, a tokenizer to save."""

import json
import tempfile
from pathlib import Path
from typing import Any

from retune.errors import Broken, Refused, WrongUse
from retune.models import base_model, chat_template

POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len")  # the names of one number
PADDED_FIRST = ("roberta", "camembert", "mpnet", "esm", "data2vec-text", "longformer", "luke", "xmod", "ibert")
SAMPLE = "Two lamps, 3 kettles: ordered & lost!"


def require(train: Any) -> str:
    """Check the base of section train if it is on this machine; returns what was seen, in words."""
    name = train.base.name
    try:
        folder = base_model.find(name, fetch=False)
    except (Broken, WrongUse) as error:  # to be fetched, or missing: validation, which counts tokens, says so
        return f"not checked: {error}"
    words = require_positions(folder, train)
    if not (folder / "tokenizer.json").is_file():  # with it, the tokenizer is one that saves itself
        require_savable(chat_template.load(folder), name)
    return f"{words}, and its tokenizer can be saved"


def require_positions(folder: Path, train: Any) -> str:
    """Raises WrongUse where `train.max_tokens` is more than the base in `folder` has positions for."""
    limit = positions(json.loads((folder / "config.json").read_text("utf-8")))
    tokens = train.max_tokens + (train.prompt.virtual_tokens if train.method == "prompt" else 0)
    if limit is not None and tokens > limit:
        virtual = f", with {tokens - train.max_tokens} virtual tokens" if tokens > train.max_tokens else ""
        raise WrongUse(
            f"train.max_tokens is {train.max_tokens}{virtual}, and the base {train.base.name} reads at most {limit} "
            "tokens",
            remedy=f"write train.max_tokens: {limit - (tokens - train.max_tokens)} or less",
        )
    return f"the base reads {limit if limit is not None else 'any number of'} tokens"


def positions(config: dict[str, Any]) -> int | None:
    """How many tokens a base of this config.json reads; None if nothing limits them."""
    config = {**config.get("text_config", {}), **config}
    if config.get("position_biased_input") is False:  # DeBERTa: distances between tokens, however many
        return None
    limit = next((config[name] for name in POSITIONS if isinstance(config.get(name), int) and config[name] > 0), None)
    if limit is None:
        return None
    padded_first = any(kind in config.get("model_type", "") for kind in PADDED_FIRST)
    return int(limit - config.get("pad_token_id", 1) - 1) if padded_first else int(limit)


def require_savable(tokenizer: Any, name: str) -> None:
    """Raises Refused for a tokenizer that is another one, or none, once it is saved beside the model."""
    from retune.models import classifier  # imports torch, which most checks do not need

    with tempfile.TemporaryDirectory() as scratch:
        try:
            classifier.save_tokenizer(tokenizer, Path(scratch))
            again = chat_template.load(Path(scratch))
        except Exception as error:  # whatever a tokenizer of somebody's own raises: it cannot be saved
            why = f"{type(error).__name__}: {error}".splitlines()[0]
        else:
            same = again(SAMPLE)["input_ids"] == tokenizer(SAMPLE)["input_ids"]
            why = "" if same else "once saved, it reads texts otherwise"
    if why:
        raise Refused(
            f"the tokenizer of the base {name} cannot be saved ({why})", remedy="name another base in train.base"
        )
