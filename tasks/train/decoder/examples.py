"""The rows of a decoder training as token ids, and the replay examples that are mixed in among them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd

from retune.config.generation import InstructTrain
from retune.data import replay_sampling
from retune.errors import Refused
from retune.models import chat_template
from retune.models.chat_template import TokenizedExample
from retune.models.packing import supervised
from tasks.train import parent
from tasks.train.parent import ParentCausalLM

SHOWN = 3  # rows that an error message names


class RenderConfig(Protocol):
    """What of the train section decides how rows become tokens."""

    @property
    def max_tokens(self) -> int: ...
    @property
    def too_long(self) -> str: ...
    @property
    def turns(self) -> str: ...


@dataclass(frozen=True)
class TokenizedSplit:
    """One split, ready for the network."""

    rows: list[TokenizedExample]  # several of a conversation whose answers do not fit into one
    frame: pd.DataFrame  # the conversations that they come from, in the same order
    too_long: int = 0  # rows that are left out: longer than max_tokens
    truncated: int = 0  # rows whose prompt is cut


@dataclass(frozen=True)
class Replay:
    """Replay examples among the rows; none of them is a row."""

    rows: list[TokenizedExample]
    files: list[str]  # that each comes from


def render(frame: pd.DataFrame, tokenizer: Any, config: RenderConfig) -> TokenizedSplit:
    """The tokens of each row that is trained on; those that are too long for it are counted."""
    max_tokens, render_row, rows, is_learned, cut = config.max_tokens, chat_template.renderer(config.turns), [], [], 0
    for text, label in zip(frame["text"], frame["label"], strict=True):
        examples = render_row(tokenizer, text, label)
        shortened = [chat_template.shortened(row, max_tokens, config.too_long) for row in examples]
        fitting = [row for row in shortened if row is not None]
        cut += any(row not in examples for row in fitting) or 0 < len(fitting) < len(examples)
        is_learned.append(bool(fitting))
        rows += fitting
    if not rows:
        raise Refused(
            f"all {len(frame)} rows of a split are longer than train.max_tokens, {max_tokens}: raise it, or write "
            "train.too_long: cut_prompt"
        )
    left_out = is_learned.count(False)
    if cut or left_out:
        print(f"{left_out} rows are left out and {cut} prompts cut: longer than {max_tokens} tokens", flush=True)
    return TokenizedSplit(rows, frame[is_learned], left_out, cut)


def draw_replay(examples: pd.DataFrame | None, rows: int, tokenizer: Any, config: InstructTrain) -> Replay:
    """As many replay examples as make up their share beside `rows` others; one that is too long is passed over."""
    count = replay_sampling.required_count(rows, config.replay_share)
    replay = Replay([], [])
    if examples is None or not count:
        return replay
    drawn, render_row = replay_sampling.in_draw_order(examples, config.seed), chat_template.renderer(config.turns)
    for text, label, file in drawn[["text", "label", "source"]].to_numpy():
        for example in render_row(tokenizer, text, label):
            row = chat_template.shortened(example, config.max_tokens, config.too_long)
            if row is not None:
                replay.rows.append(row)
                replay.files.append(file)
        if len(replay.rows) >= count:
            break
    return Replay(replay.rows[:count], replay.files[:count])


def replay_shortage(replay: Replay, rows: int, config: InstructTrain) -> list[str]:
    """A warning if there are fewer replay examples than `replay_share` asks for; none where there is no file."""
    count = replay_sampling.required_count(rows, config.replay_share)
    if not replay.rows or len(replay.rows) >= count:
        return []
    return [
        f"train.replay_share is {config.replay_share:g} and asks for {count} general examples beside {rows} rows: "
        f"only {len(replay.rows)} are there and short enough"
    ]


def replay_report(replay: Replay, rows: int) -> dict[str, Any]:
    """How much of the replay examples was learned from, for the report. rows: the number of the others."""
    return {
        "rows": len(replay.rows),
        "share": round(len(replay.rows) / (rows + len(replay.rows)), 6),
        "tokens": sum(len(row.tokens) for row in replay.rows),
        "supervised_tokens": sum(map(supervised, replay.rows)),
        "files": dict(sorted(Counter(replay.files).items())),
    }


def check_rows(rows: Sequence[TokenizedExample], vocabulary: int) -> None:
    """Raises Refused for rows that nothing would be learned from, or whose tokens the base does not have."""
    if empty := [number for number, row in enumerate(rows) if not supervised(row)]:
        raise Refused(
            f"{len(empty)} rows supervise no token, such as row {', '.join(map(str, empty[:SHOWN]))}: nothing would be "
            "learned from them; look at their completions, and at train.template"
        )
    if (highest := max((max(row.tokens) for row in rows), default=0)) >= vocabulary:
        raise Refused(
            f"the tokenizer knows a token {highest}, and the base has {vocabulary}: they do not belong together"
        )


def count_new(start: ParentCausalLM, splits: Sequence[TokenizedSplit], refit: bool) -> dict[str, int]:
    """How much of what is learned from is new to the version that training goes on from. splits: train and val."""
    existing_ids = {name for split in splits for name in split.frame["id"]}
    learned = pd.concat([split.frame for split in (splits if refit else splits[:1])])
    return parent.count_new(learned, existing_ids, start.rows)


def warn_of_learned_val(start: ParentCausalLM) -> list[str]:
    """A warning where val measures nothing: a model is surest of the rows that it has learned."""
    if not start.version.refit or start.rows.empty:
        return []
    return [
        f"{start.version.name} learned from its val rows too (refit), so the best epoch is chosen on rows that it knows"
    ]
