"""The section `fetch` of params.yaml: where new records come from."""

import re
import reprlib
from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator

from retune.config.types import AbsolutePath, Count, NotNegative, Positive, Text, Variable, Word, about, section

KINDS = ("files", "http", "sql")


def _address(url: str) -> str:
    # The message does not repeat the address: it may hold a password.
    if not re.fullmatch(r"https?://[^/\s@?#]+[^\s@#]*", url):
        raise ValueError("write http(s)://HOST/PATH, without user, password or fragment: a token belongs in a variable")
    return url


def _query(query: str) -> str:
    if not re.match(r"\s*(select|with)\b", query, re.IGNORECASE):
        raise ValueError(f"not a query: {reprlib.repr(query)}. Write one SELECT (or WITH ... SELECT)")
    if not re.search(r"(?<![:\w]):cursor\b", query):
        raise ValueError("the query reads every row each time: compare a column, such as `changed >= :cursor`")
    return query


Address = Annotated[str, AfterValidator(_address)]
Query = Annotated[str, AfterValidator(_query)]


@section
class Columns:
    text: Annotated[
        Text | None,
        about(
            "Column or field of the text, or of the prompt. null, of a file: `text`, or a format of conversations "
            "that its columns show."
        ),
    ]
    label: Annotated[
        Text | None, about("Column or field of the label, or of the answer. null, of a file: as for text.")
    ]
    id: Annotated[Text | None, about("Column or field that identifies a row. null: the row's content identifies it.")]
    group: Annotated[
        Text | None, about("Column or field of the group; rows of one group stay in one split. null: no groups.")
    ]
    split: Annotated[
        Text | None, about("Column or field of the preassigned split (train, val or test). null: none is preassigned.")
    ]
    rejected: Annotated[
        Text | None, about("Column or field of the worse answer, for task prefer. null: `rejected`, or none.")
    ]
    keep: Annotated[
        list[Text], about("Further columns or fields that the rows keep: evaluation reports on their values as slices.")
    ]


@section
class NamedColumns(Columns):  # of a source that is read from a cursor on
    text: Annotated[Text, about("Column or field of the text, or of the messages.")]
    label: Annotated[Text, about("Column or field of the label, or of the answer.")]
    id: Annotated[Text, about("Column or field that identifies a row, so that a corrected row replaces the old one.")]


@section
class Provenance:
    name: Annotated[Word, about("Name of the source, under which its cursor is kept.")]
    licence: Annotated[Text | None, about("Licence of the records, for the lineage record. null: not stated.")]
    collected: Annotated[
        Text | None, about("When the records were collected, for the lineage record. null: not stated.")
    ]


@section
class FileReading:
    delimiter: Annotated[
        Text | None, about("Separates the fields of a CSV file: ; or | or tab. null: found by content.")
    ]
    encoding: Annotated[Text | None, about("Encoding of a text file, such as cp1252. null: UTF-8, or by its mark.")]
    sheet: Annotated[Text | None, about("Sheet of a workbook that has several. null: the only one with content.")]
    header: Annotated[bool, about("The first record names the columns. false: they are called `column 1` and so on.")]


@section
class FileSource(Provenance):
    kind: Annotated[Literal["files"], about("Files in a folder.")]
    path: Annotated[AbsolutePath, about("Absolute path of the folder; every new or changed file in it is read.")]
    columns: Annotated[Columns, about("Which columns hold what.")]
    reading: Annotated[FileReading, about("What the content of the files does not say.")]


@section
class EndpointCursor:
    param: Annotated[Text, about("Query parameter that asks for records since the cursor.")]
    field: Annotated[Text, about("Field of a record whose largest value is the next cursor.")]
    start: Annotated[str | int | float | None, about("First cursor. null: the first request has none.")]


@section
class EndpointSource(Provenance):
    kind: Annotated[Literal["http"], about("An HTTP endpoint that returns JSON.")]
    url: Annotated[Address, about("Address of the endpoint, without user or password.")]
    cursor: Annotated[EndpointCursor, about("How the next request continues after the last one.")]
    authorization_env: Annotated[
        Variable | None, about("Environment variable that holds the Authorization header. null: none is sent.")
    ]
    columns: Annotated[NamedColumns, about("Which fields hold what.")]


@section
class DatabaseSource(Provenance):
    kind: Annotated[Literal["sql"], about("A database that SQLAlchemy can open.")]
    url_env: Annotated[Variable, about("Environment variable that holds the database URL.")]
    query: Annotated[Query, about("One SELECT that compares a column with :cursor.")]
    cursor_column: Annotated[Text, about("Column of the result whose largest value is the next cursor.")]
    cursor_type: Annotated[Literal["number", "text", "time"], about("Type of the cursor.")]
    cursor_start: Annotated[str | int | float, about("First cursor.")]
    columns: Annotated[NamedColumns, about("Which columns of the result hold what.")]


Source = FileSource | EndpointSource | DatabaseSource
SourceByKind = Annotated[Source, Discriminator("kind")]


def _distinct_names(sources: list[Source]) -> list[Source]:
    names = [source.name for source in sources]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two sources are called {repeated[0]!r}, and each has a cursor under its name: rename one")
    return sources


@section
class Fetch:
    settle_seconds: Annotated[
        NotNegative,
        about("A file that changed less than this many seconds ago counts as still being written.", "5 to 300"),
    ]
    timeout_seconds: Annotated[
        Positive, about("Longest time in seconds that an endpoint or a database may take to answer.", "10 to 120")
    ]
    attempts: Annotated[Count, about("Attempts to reach a source before it counts as failed.", "1 to 6")]
    pause_seconds: Annotated[
        NotNegative,
        about("Pause in seconds before the second attempt; it doubles before each further one.", "1 to 10"),
    ]
    max_megabytes: Annotated[Count, about("Largest amount in megabytes that one source may bring in one fetch.")]
    sources: Annotated[
        list[SourceByKind],
        AfterValidator(_distinct_names),
        about("The sources, each of kind files, http or sql; docs/how-to/data/connect-sources.md shows one of each."),
    ]
