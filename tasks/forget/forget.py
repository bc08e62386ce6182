"""Put rows on the list of those that must not be learned from; curate obeys it from the next run on.

    retune forget T-00042 T-00043 --reason "asked to be forgotten"

Not covered: the bytes. data/raw, older rejects and splits in DVC's cache, and the models that learned from a row
stay as they are, so that what was done can still be shown. From the next run on no file made anew holds its text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from retune.data import intake_branch, row_table, suppression, text_keys
from retune.data.values import spellings
from retune.errors import Broken, Refused, WrongUse
from retune.evaluation import golden_cases
from retune.evaluation.golden_cases import Case
from retune.system import dvc_store
from retune.system.locks import waiting

RAW = Path("data/raw")
LOCK = Path(".retune/suppressed.lock")
PATIENCE = 60  # seconds to wait for another forget
NAMED = 20  # unknown ids to name


@dataclass(frozen=True)
class ForgetResult:
    """What became of the ids that were given, each named once."""

    added: tuple[str, ...]
    known: tuple[str, ...]  # were on the list before
    listed: int  # rows on the list now


def forget(
    ids: Sequence[str], reason: str, by: str, at: str, raw: Path = RAW, path: Path = suppression.LIST
) -> ForgetResult:
    """Add `ids` to the list at `path`, all of them or none.

    An id that is neither in `raw` nor on the list is refused by name: a typing error must not pass for a row that
    was forgotten. `at` is ISO 8601, `by` whoever answers for it.
    """
    names, reason, by = list(dict.fromkeys(name.strip() for name in ids)), reason.strip(), by.strip()
    _check_arguments(names, reason, by, at)
    existing = set(_rows(raw)["id"])
    names = list(dict.fromkeys(next((each for each in spellings(name) if each in existing), name) for name in names))
    with waiting(LOCK, PATIENCE, "forget"):
        suppressions = suppression.read(path)
        is_listed = suppression.contains(suppressions, pd.Series(names, dtype="str"))
        known_names = [name for name, on_list in zip(names, is_listed, strict=True) if on_list]
        added = [name for name, on_list in zip(names, is_listed, strict=True) if not on_list]
        _refuse_unknown([name for name in added if name not in existing], raw)
        after = suppression.add(suppressions, added, reason, by, at)
        if after != suppressions:
            suppression.write(after, path)
    return ForgetResult(tuple(added), tuple(known_names), suppression.count(after))


def has_arrived(name: str, raw: Path = RAW) -> bool:
    """Whether any record that came in has this id. Raises RetuneError where the records cannot be read."""
    return name in set(_rows(raw)["id"])


def texts_of(ids: Sequence[str], raw: Path = RAW) -> list[str]:
    """The words of these rows, in every state that they had."""
    rows = _rows(raw)
    return rows[rows["id"].isin(set(ids))]["text"].drop_duplicates().tolist()


def copies(ids: Sequence[str], raw: Path = RAW, path: Path = suppression.LIST) -> dict[str, tuple[str, ...]]:
    """id -> the other ids of `raw` that carry the same words, for those of `ids` that have such copies.

    A copy under another id would still be learned from. Every state that an id had counts, of the others only the
    present one: curate takes no older. Rows that are on the list already are no copies to worry about.
    """
    rows = _rows(raw)
    rows["key"] = text_keys.same(rows["text"].map(row_table.clean).astype("str"))
    rows["present"] = ~rows["id"].duplicated(keep="last")
    matches = rows[rows["id"].isin(set(ids)) & (rows["key"] != "")]
    others = rows[rows["present"] & rows["key"].isin(set(matches["key"]))]
    others = others[~suppression.contains(suppression.read(path), others["id"])]
    ids_of = others.groupby("key", sort=False)["id"].agg(tuple).to_dict()
    copies_of: dict[str, tuple[str, ...]] = {}
    for name, keys in matches.groupby("id", sort=False)["key"]:
        if same := dict.fromkeys(other for key in keys for other in ids_of.get(key, ()) if other != name):
            copies_of[str(name)] = tuple(same)
    return copies_of


def golden_cases_of(ids: Sequence[str], cases: Sequence[Case], raw: Path = RAW) -> dict[str, tuple[str, ...]]:
    """id -> names of the golden cases that hold the words of such a row, in any state that it had."""
    rows = _rows(raw)
    of_case = golden_cases.ids_by_case(cases, rows[rows["id"].isin(set(ids))])
    cases_of = {name: tuple(case for case, holders in of_case.items() if name in holders) for name in ids}
    return {name: names for name, names in cases_of.items() if names}


def _rows(raw: Path) -> pd.DataFrame:
    """Id and words of all that has come in: what retrainings brought in first, then what stands in the checkout."""
    pointers = intake_branch.read().pointers.values()
    fetched = [_ids_and_texts(part) for pointer in pointers for part in _parts(intake_branch.md5(pointer))]
    pointer = raw.with_name(f"{raw.name}.dvc")
    if not fetched and not raw.exists() and not pointer.exists():
        raise WrongUse("there are no records yet, so there is nothing to forget: `retune ingest` brings them in")
    try:
        rows = row_table.read(raw)[["id", "text"]] if raw.exists() else pd.DataFrame(columns=["id", "text"])
    except (pa.ArrowException, OSError, KeyError) as error:
        raise Broken(f"{raw} holds a file that is no part: {error}. Run `dvc checkout` to restore it") from None
    if rows.empty and pointer.exists():
        raise Broken(f"{pointer} says there are rows, but {raw} is empty: run `dvc checkout` or `dvc pull` first")
    return pd.concat([*fetched, rows], ignore_index=True).fillna("").astype("str")


def _parts(md5: str) -> list[str]:
    return [part_md5 for path, part_md5 in sorted(dvc_store.listing(md5).items()) if path.endswith(".parquet")]


def _ids_and_texts(md5: str) -> pd.DataFrame:
    rows: pd.DataFrame = pq.read_table(dvc_store.parquet(md5), columns=["id", "text"]).to_pandas()
    return rows


def _check_arguments(ids: Sequence[str], reason: str, by: str, at: str) -> None:
    if not ids or "" in ids:
        raise WrongUse("say which rows: one id or more, none of them empty")
    if not reason or not by:
        raise WrongUse(f"say {'why' if not reason else 'who says so'}: a row is not forgotten without it")
    try:
        datetime.fromisoformat(at)
    except ValueError:
        raise WrongUse(f"{at!r} is not a time of ISO 8601. Example: 2026-11-24T10:00:00Z") from None


def _refuse_unknown(ids: Sequence[str], raw: Path) -> None:
    if ids:
        more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
        raise Refused(
            f"no row of {raw} has the id {', '.join(map(repr, ids[:NAMED]))}{more}: nothing was forgotten;"
            " mend the spelling, or leave it out"
        )
