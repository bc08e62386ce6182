import re

import pytest
import yaml

from flows.project import migrate_params, params_editor
from retune.config import params, renames
from retune.errors import WrongUse
from tasks.fetch import files
from tests.support.environment import ROOT

# Of these an older file gets another line than a new one: what it meant, or, of the rows, what a classifier has.
SILENCE = {"turns:", "similarity:", "max_robustness_loss:", "rows:"}
FILES = [ROOT / "params.yaml", *sorted((ROOT / "retune/config/defaults").glob("*.yaml"))]


def with_old_names(text):
    """The file as it was before its parameters had the names of today; each stands at the start of a line."""
    lines, section, part = [], "", ""
    for line in text.splitlines(keepends=True):
        name = line.split(":")[0]
        if line[0].isalpha():
            section = name
        if line.startswith("  ") and line[2].isalpha():
            part = name.strip()
        path = {0: name, 2: f"{section}.{name.strip()}"}.get(
            len(name) - len(name.lstrip()), f"{section}.{part}.{name.strip()}"
        )
        old = {new: old for old, new in renames.KEYS.items()}.get(path)
        lines.append(line.replace(path.rpartition(".")[2], old.rpartition(".")[2], 1) if old else line)
    return "".join(lines).replace("recovered, unhealthy,", "recovered, silent,")


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def old_params(request, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(with_old_names(request.param.read_text("utf-8")), "utf-8")
    return path, request.param


def words(text):
    """All but the width of the space before a comment, which a longer name takes from."""
    return [line.split() for line in text.splitlines()]


def test_only_the_names_change_and_comments_and_order_stay(old_params):
    path, today = old_params
    with pytest.raises(WrongUse, match="run `retune params migrate`"):
        params.load(path)
    changes = migrate_params.migrate(path)
    assert "`decide` is now called `trigger`" in changes
    assert words(path.read_text("utf-8")) == words(today.read_text("utf-8"))
    assert params.load(path) == params.load(today)


def test_a_second_time_there_is_nothing_to_do(old_params):
    path, _ = old_params
    assert migrate_params.migrate(path)
    before = path.read_bytes()
    assert migrate_params.migrate(path) == []
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["params.yaml"]


def test_a_check_says_the_changes_and_writes_nothing(old_params):
    path, _ = old_params
    before = path.read_bytes()
    assert migrate_params.migrate(path, write=False)
    assert path.read_bytes() == before


def one(tmp_path, change):
    path = tmp_path / "params.yaml"
    path.write_bytes(change(with_old_names(FILES[0].read_text("utf-8"))).encode("utf-8"))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("epochs: 3", "epochs: three"), "train.epochs is 'three'"),
        (lambda text: text.replace("  epochs: 3", "  epohcs: 3"), "did you mean train.epochs"),
        (lambda text: text + "\ntrigger: {}\n", "both `decide` and `trigger`: remove one"),
        (lambda text: text.replace("task: classify", "task: [", 1), "is not YAML"),
        (lambda _: "- 1\n", "has no sections"),
        (lambda _: "", "has no sections"),
        (lambda text: text + "\nsplit: {}\n", "is not YAML|split"),
    ],
)
def test_a_file_that_is_wrong_otherwise_stays_as_it_is(tmp_path, change, message):
    path = one(tmp_path, change)
    before = path.read_bytes()
    with pytest.raises(WrongUse, match=message):
        migrate_params.migrate(path)
    assert path.read_bytes() == before


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WrongUse, match="run this in the folder that holds it"):
        migrate_params.migrate(tmp_path / "params.yaml")


def test_line_ends_of_windows_and_quoted_names_stay(tmp_path):
    path = one(tmp_path, lambda text: text.replace("\ndecide:", '\n"decide":').replace("\n", "\r\n"))
    migrate_params.migrate(path)
    text = path.read_bytes().decode()
    assert '\r\n"trigger":' in text
    assert text.count("\n") == text.count("\r\n")


def test_a_setting_by_its_old_name_is_refused_with_the_new_one():
    with pytest.raises(
        WrongUse, match=r"`decide\.new_rows` is now called `trigger\.new_rows`: write -S trigger\.new_rows=5"
    ):
        params_editor.write(["decide.new_rows=5"], FILES[0])


def test_a_setting_for_a_file_with_old_names_says_how_to_migrate_it(tmp_path):
    path = one(tmp_path, lambda text: text)
    with pytest.raises(WrongUse, match="run `retune params migrate`"):
        params_editor.write(["train.epochs=5"], path)
    assert yaml.safe_load(path.read_text("utf-8"))["decide"]


def without(text, *names):
    """The file without these parameters of two levels and what is below them, or a section that has no other."""
    lines, section, drops = [], "", False
    for line in text.splitlines(keepends=True):
        section = line.split(":")[0] if line[0].isalpha() else section
        if not line.startswith("   "):
            drops = f"{section}.{line.split(':')[0].strip()}" in names
        if not drops or (line.startswith("   ") and line.lstrip().startswith("#")):
            lines.append(line)
    return "".join(line for line, after in zip(lines, [*lines[1:], "\n"], strict=True)
                   if not (re.fullmatch(r"\w+:\s*\n", line) and not after.strip()))  # fmt: skip


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_an_earlier_release_did_not_have_is_added_and_everything_else_stays(file, tmp_path):
    path, today = tmp_path / "params.yaml", file.read_text("utf-8")
    path.write_text(without(today, *renames.ADDED), "utf-8")
    with pytest.raises(WrongUse, match="ingest is missing: run `retune params migrate`"):
        params.load(path)
    expected = [f"added `{name}`" for name in renames.ADDED if name in all_of(file)]
    assert sorted(migrate_params.migrate(path)) == sorted(expected)
    assert migrate_params.migrate(path) == []
    new_lines = {*map(tuple, words(path.read_text("utf-8")))} - {*map(tuple, words(today))}
    assert {line[0] for line in new_lines} <= SILENCE, "what an older file meant by its silence"
    path.write_text(re.sub("turns: last .*", "turns: all", path.read_text("utf-8")), "utf-8")
    similarity = params.load(file).curate.near_copies.similarity
    path.write_text(re.sub("similarity: null", f"similarity: {similarity or 'null'}", path.read_text("utf-8")), "utf-8")
    changed_rows = params.load(file).evaluate.robustness.rows
    path.write_text(re.sub("    rows: 100 ", f"    rows: {changed_rows} ", path.read_text("utf-8")), "utf-8")
    assert params.load(path) == params.load(file)


SOURCES = """\
  sources:
    - kind: files
      name: drop      # of the desk
      path: /srv
      columns: {text: a, label: b, id: null, group: null, split: null}
      licence: null
      collected: null
    - kind: sql
      name: crm
      url_env: CRM_URL
      query: SELECT * FROM t WHERE a > :cursor
      cursor_column: a
      cursor_type: number
      cursor_start: 0
      columns:
        text: a
        label: b
        id: c
        group: null
        split: null
      licence: null
      collected: null
    - {kind: files, name: f, path: /f, columns: {text: a, label: b, id: null, group: null, split: null},
       licence: null, collected: null}
"""
ADDED_TO_SOURCES = [
    "added `fetch.sources.0.columns.rejected`",
    "added `fetch.sources.0.columns.keep`",
    "added `fetch.sources.0.reading`",
    "added `fetch.sources.1.columns.rejected`",
    "added `fetch.sources.1.columns.keep`",
    "added `fetch.sources.2.columns.rejected`",
    "added `fetch.sources.2.columns.keep`",
    "added `fetch.sources.2.reading`",
]


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["line feeds", "Windows"])
def test_sources_of_an_earlier_release_get_what_they_lack_in_their_own_style(tmp_path, end):
    path, today = tmp_path / "params.yaml", FILES[0].read_text("utf-8")
    text = re.sub(r"  sources: \[\].*\n", SOURCES, today).replace("\n", end)
    path.write_bytes(text.encode())
    with pytest.raises(WrongUse, match=r"fetch\.sources\.0\.columns\.rejected is missing: run `retune params migrate`"):
        params.load(path)
    assert migrate_params.migrate(path) == ADDED_TO_SOURCES
    assert migrate_params.migrate(path) == []
    drop, crm, flow = params.load(path).fetch.sources
    assert drop.reading == flow.reading == files.BY_CONTENT
    assert (drop.columns.rejected, crm.columns.rejected, crm.columns.split) == (None, None, None)
    assert drop.columns.keep == crm.columns.keep == flow.columns.keep == []
    text = path.read_bytes().decode()
    assert "      name: drop      # of the desk" + end in text and text.count("\r") == (
        text.count("\n") if end != "\n" else 0
    )


def all_of(file):
    return params.paths(type(params.load(file)))


@pytest.mark.parametrize(("end", "last"), [("\r\n", ""), ("\n", "end")])
def test_a_parameter_is_added_to_its_section_with_the_line_ends_of_the_file(tmp_path, monkeypatch, end, last):
    monkeypatch.setattr(renames, "ADDED", {"notify.timeout_seconds": "timeout_seconds: 20.0 # seconds"})
    lines = [line for line in FILES[0].read_text("utf-8").splitlines() if "  timeout_seconds: 20" not in line]
    path = tmp_path / "params.yaml"
    path.write_bytes(end.join([*lines, *([] if last else [""])]).encode())
    assert migrate_params.migrate(path) == ["added `notify.timeout_seconds`"]
    assert path.read_bytes().decode().endswith(f"{end}  timeout_seconds: 20.0 # seconds{end}")
