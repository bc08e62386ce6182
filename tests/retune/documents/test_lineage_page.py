"""The page about where a version comes from: complete, safe with strangers' words, the same bytes each time."""

import base64
import copy
import hashlib
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

from retune.documents import check_marks, lineage_page, tenures
from retune.lineage.check import Check
from tests.support.environment import ROOT

CHECKED = "2026-11-26T09:00:00+00:00"
ATTRIBUTES = {
    *(
        "class",
        "id",
        "title",
        "lang",
        "charset",
        "name",
        "content",
        "http-equiv",
        "rel",
        "href",
        "hidden",
        "open",
        "datetime",
    ),
    *("aria-label", "aria-hidden", "aria-labelledby", "data-stage", "data-th"),
    *(
        "viewbox",
        "preserveaspectratio",
        "width",
        "height",
        "d",
        "x",
        "y",
        "x1",
        "x2",
        "y1",
        "y2",
        "cx",
        "cy",
        "r",
        "rx",
    ),
    "text-anchor",
}
TAGS = {
    *("html", "head", "meta", "link", "title", "style", "body", "header", "main", "section", "nav", "footer"),
    *("h1", "h2", "h3", "p", "div", "span", "small", "strong", "a", "bdi", "time", "code", "pre", "details", "summary"),
    *("ol", "ul", "li", "dl", "dt", "dd", "table", "thead", "tbody", "tr", "th", "td"),
    *("svg", "symbol", "use", "path", "rect", "circle", "line", "text", "tspan"),
}


class ParsedPage(HTMLParser):
    """Every tag and attribute of a page, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.stages, self.open = set(), [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        self.stages += [value for name, value in attrs if name == "data-stage"]
        self.open += [tag] if tag not in ("meta", "link") else []

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self):
        return " ".join("".join(self.text).split())


def read(lineage_facts, version="tickets/7", links=None, entries=None, checked=CHECKED):
    links, entries = (
        lineage_facts.links if links is None else links,
        lineage_facts.entries if entries is None else entries,
    )
    return lineage_page.page(lineage_facts.record, version, links, entries, checked)


def words(*arguments, **named):
    return ParsedPage(read(*arguments, **named)).words


def break_link(lineage_facts, name):
    return [replace(link, found="missing", ok=False) if link.name == name else link for link in lineage_facts.links]


def test_links_that_all_hold_are_counted_with_the_time_of_checking(lineage_facts):
    text = words(lineage_facts)
    assert f"All {len(lineage_facts.links)} links were recomputed and equal, 26 November 2026, 09:00 UTC" in text
    assert "failed" not in text


def test_a_link_that_failed_is_named_on_top_and_its_stage_marked(lineage_facts):
    text = words(lineage_facts, links=break_link(lineage_facts, "data/splits/val.parquet"))
    assert f"1 of {len(lineage_facts.links)} links failed" in text
    assert "data/splits/val.parquet: missing" in text
    marked = check_marks.check_marks(lineage_facts.record, break_link(lineage_facts, "data/splits/val.parquet"))
    assert [stage for stage, mark in marked.items() if mark is False] == ["splits"]
    assert "recomputed, not equal" in text


def test_a_page_written_at_registration_claims_no_recomputing(lineage_facts):
    text = words(lineage_facts, version="", links=[], entries=[], checked=None)
    assert "As written at registration: nothing was recomputed" in text
    assert "recomputed, equal" not in text
    assert set(check_marks.check_marks(lineage_facts.record, []).values()) == {None}
    assert 'class="state' not in read(lineage_facts, links=[], entries=[])


def test_a_hash_is_marked_only_if_every_link_of_it_held(lineage_facts):
    weights = next(link for link in lineage_facts.links if link.name == "model.safetensors")
    assert check_marks.by_hash([weights, replace(weights, name="elsewhere", ok=False)]) == {weights.expected: False}
    assert check_marks.by_hash([weights]) == {weights.expected: True}


def test_no_name_is_so_long_that_it_pushes_the_verdict_away(hostile_facts):
    parser = ParsedPage(read(hostile_facts, version=f"{hostile_facts.record['name']}/7"))
    assert parser.words.index("links failed") < 600  # characters of text


def test_every_stage_opens_to_facts_and_is_in_the_picture(lineage_facts):
    text = read(lineage_facts)
    assert ParsedPage(text).stages == list(lineage_page.STAGES)
    for stage in lineage_page.STAGES:
        assert f'id="facts-{stage}"' in text
        assert f'<a href="#facts-{stage}"' in text


def test_every_hash_of_the_record_stands_on_the_page(lineage_facts):
    text = words(lineage_facts)
    for digest in set(re.findall(r"\b[0-9a-f]{40,64}\b|\b[0-9a-f]{32}\b", str(lineage_facts.record))):
        assert digest in text, digest


def test_scores_stand_with_their_intervals_for_every_model(lineage_facts):
    text = words(lineage_facts)
    for model in ("candidate", "base", "probe", "champion"):
        for score in lineage_facts.record["scores"][model].values():
            assert f"{score['value']:.4f}" in text
            assert f"{score['low']:.4f} to {score['high']:.4f}, n 197" in text


def test_without_a_champion_before_the_page_says_so(lineage_facts):
    lineage_facts.record["scores"]["champion"] = lineage_facts.record["gate"]["champion"] = None
    lineage_facts.record["gate"]["rivals"].pop()
    text = words(lineage_facts)
    assert "There was no champion to compare with." in text
    assert "champion before" not in text


def test_the_gate_stands_with_thresholds_and_reasons(lineage_facts):
    text = words(lineage_facts)
    assert "at least 95% of resamples" in text
    assert "more than +0.01" in text
    assert "97.4%, required 95%" in text
    for rival in lineage_facts.record["gate"]["rivals"]:
        assert rival["reason"] in text


def test_every_bound_of_the_gate_and_the_time_stand_with_what_was_found(lineage_facts):
    text = words(lineage_facts)
    for reason in lineage_facts.record["gate"]["reasons"]:
        assert reason in text
    for bound in lineage_facts.record["gate"]["bounds"]:
        assert f"{bound['kind']} {bound['name']}" in text
    assert "Time per text: 4.12 ms, the champion 4.05 ms" in text
    assert "(about 1,330 are needed to detect the configured gain)" in text
    assert "Cannot tell" not in text
    lineage_facts.record["gate"]["rivals"][1] |= {"won": False, "outcome": "cannot tell"}
    lineage_facts.record["gate"]["latency"] = None
    assert "Cannot tell against the champion" in words(lineage_facts)
    assert "The latency was not measured" in words(lineage_facts)


def test_a_record_from_before_the_gate_had_bounds_has_its_page_too(lineage_facts):
    for name in ("worse", "reasons", "champion_test", "bounds", "latency"):
        del lineage_facts.record["gate"][name]
    for rival in lineage_facts.record["gate"]["rivals"]:
        for name in ("outcome", "worse", "needed", "differing"):
            del rival[name]
    text = words(lineage_facts)
    assert "macro_f1 beats the champion" in text
    assert "Labels and slices" not in text


def test_a_version_that_the_gate_held_and_a_person_promoted_is_pointed_out(lineage_facts):
    warning = "The gate held this version, and yet the history has it as champion."
    assert warning not in words(lineage_facts)
    lineage_facts.record["gate"]["decision"] = "held"
    assert warning in words(lineage_facts)
    assert warning not in words(lineage_facts, entries=lineage_facts.entries[:3])


def test_energy_and_cost_are_called_estimates_with_their_inputs(lineage_facts):
    text = words(lineage_facts)
    assert "about 3.84 Wh (an estimate, not measured: it follows from seconds 212.5, watts 65)" in text
    assert "about 0.0007 EUR (an estimate" in text


def test_history_tells_who_when_why_and_on_which_evidence(lineage_facts):
    text = words(lineage_facts)
    assert "tickets/7 became champion (this version)" in text
    assert "macro_f1 beats the champion" in text
    assert "24 November 2026, 10:16 UTC, by A. Tester <tester@example.com>" in text
    assert "Evidence" in text
    assert "4" * 64 in text


def test_a_version_that_learned_from_pairs_says_whose_weights_it_went_on_from(lineage_facts, training_start):
    lineage_facts.record["params"]["task"] = "prefer"
    lineage_facts.record["training"]["start"] = training_start
    text = words(lineage_facts)
    assert (
        "Training continued from the weights of tickets/6, on 1,234 pairs of answers, with that version as reference."
        in text
    )
    assert "rows that were new to it" not in text
    assert training_start["model_md5"] in text and training_start["seal"] in text


def test_general_examples_stand_beside_the_rows_with_the_hash_of_their_file(lineage_facts):
    assert "replay examples" not in words(lineage_facts)
    file = {"path": "/data/sums.csv", "sha256": "5" * 64, "received": 500, "kept": 450, "learned": 40}
    lineage_facts.record["data"]["general"] = {"md5": "3" * 32, "rows": 450, "learned": 40, "files": {"sums.csv": file}}
    text = words(lineage_facts, links=[*lineage_facts.links, Check("general/sums.csv", "5" * 64, "5" * 64, True)])
    assert "40 replay examples were mixed with the rows." in text
    assert f"40 of 450, sha256 of the file {'5' * 64} recomputed, equal" in text
    other = Check("general/sums.csv", "5" * 64, "6" * 64, False)
    assert check_marks.check_marks(lineage_facts.record, [*lineage_facts.links, other])["training"] is False


def test_a_version_that_continued_says_from_which_with_hashes_that_are_marked(lineage_facts, training_start):
    assert "Training continued" not in words(lineage_facts)
    assert "as its makers published it" in words(lineage_facts)
    lineage_facts.record["training"]["start"] = training_start
    model = Check("start/models/candidate", training_start["model_md5"], training_start["model_md5"], True)
    text = words(lineage_facts, links=[*lineage_facts.links, model])
    assert "Training continued from the weights of tickets/6, with 1,234 rows that were new to it, 56 of them" in text
    assert "also 9 rows that are no longer in the data" in text
    assert "new labelsrefunds" in text and "removed labelsfaxes" in text
    assert f"{training_start['model_md5']} recomputed, equal" in text
    assert all(
        training_start[each] in text
        for each in training_start
        if each.endswith("_md5") or each in ("seal", "record_commit")
    )
    assert "once more on train and val" not in text
    missing_model = replace(model, found="bytes gone, hash kept", ok=False)
    assert check_marks.check_marks(lineage_facts.record, [*lineage_facts.links, missing_model])["training"] is False


def test_params_stand_whole(lineage_facts):
    assert "learning_rate: 0.0001" in words(lineage_facts)
    assert "missing_label:" in words(lineage_facts)


def test_nothing_of_a_stranger_becomes_markup(hostile_facts):
    for each in (
        read(hostile_facts, version=f"{hostile_facts.record['name']}/7"),
        read(hostile_facts, "", [], [], None),
    ):
        parser = ParsedPage(each)
        assert parser.open == []
        assert parser.tags <= TAGS, parser.tags - TAGS
        assert {name for name, _ in parser.attributes} <= ATTRIBUTES, {
            name for name, _ in parser.attributes
        } - ATTRIBUTES
        assert all(value == "data:," or value.startswith("#") for name, value in parser.attributes if name == "href")
        assert "{{7*7}}" in parser.words


def test_hidden_characters_are_written_out(hostile_facts):
    text = read(hostile_facts)
    assert not [character for character in ("\u202e", "\u202c", "\x00", "\ud800") if character in text]
    assert "\\u202e" in text
    text.encode("utf-8")


def test_the_page_fetches_nothing_and_says_so_to_the_browser(lineage_facts):
    text = read(lineage_facts)
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    assert f'content="{policy}"' in text
    for word in ("//", "url(", "@import", "<script", "<iframe", "src="):
        assert word not in text, word


def test_a_record_of_nothing_still_makes_a_page(lineage_facts):
    data = lineage_facts.record["data"]
    data["sources"], data["rejected"]["reasons"] = {}, {}
    for part in (data["raw"], data["curated"], data["rejected"], *data["sides"].values()):
        part["rows"] = 0
    for side in data["sides"].values():
        side["labels"] = {}
    lineage_facts.record["base"]["files"] = lineage_facts.record["code"]["modules"] = lineage_facts.record["pipeline"][
        "hashes"
    ] = {}
    lineage_facts.record["started"]["why"] = []
    assert "no source is named" in words(lineage_facts, links=[], entries=[])


def test_the_same_inputs_give_the_same_bytes_and_stay_as_they_were(lineage_facts):
    before = copy.deepcopy(lineage_facts)
    assert read(lineage_facts) == read(lineage_facts)
    assert lineage_facts == before
    assert read(lineage_facts, entries=lineage_facts.entries[::-1]) == read(lineage_facts)


def test_the_order_of_sets_does_not_show():
    program = (
        "import json, sys, hashlib; from retune.documents import lineage_page; record = json.load(open(sys.argv[1]));"
        "print(hashlib.sha256(lineage_page.page(record, '', [], []).encode()).hexdigest())"
    )
    record = ROOT / "tests/support/record.json"
    pages = {
        subprocess.run(
            [sys.executable, "-c", program, record],
            env={"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(pages) == 1


def test_what_persons_did_is_told_and_what_retrainings_decided_is_counted(lineage_facts):
    last = lineage_facts.entries[-1]

    def later(number, event, version=7, **facts):
        return replace(last, number=number, event=event, version=version, facts={**last.facts, **facts})

    entries = [
        *lineage_facts.entries[:3],
        later(4, "decided", 6),
        later(5, "rejected"),
        later(6, "decided", 6),
        later(7, "champion", How="by hand"),
        later(8, "champion", 6, How="rollback"),
    ]
    text = words(lineage_facts, entries=entries)
    assert "tickets/7 was rejected (this version)" in text
    assert "tickets/7 became champion, by hand (this version)" in text
    assert "tickets/6 became champion again, by a rollback" in text
    assert "2 decisions about retraining" in text
    registered, champion = tenures.tenures(entries, [entry for entry in entries if entry.version == 7], CHECKED)
    assert (registered.ending, champion.ending) == ("until it was rejected", "until tickets/6 took its place")


def test_another_models_entries_are_not_this_versions(lineage_facts):
    strange = [replace(entry, model="replies") for entry in lineage_facts.entries]
    assert "not in the history shown" in words(lineage_facts, entries=strange)
