import re

import pytest

from retune.evaluation import report

EVIL = "<script>alert('x')</script>"
NAMES = ("accuracy", "macro_f1", "calibration_error")
TEXTS = ("perplexity", "rouge_l", "bleu", "chrf", "exact_match")
SCORES = {
    f"{who}{name}{end}": 0.5 for who in ("", "base_", "probe_") for name in NAMES for end in ("", "_low", "_high")
} | {"rows": 20, "rows_per_second": 31.4}
DETAILS = {
    "labels": [{"label": EVIL, "precision": 1.0, "recall": 1.0, "f1": 1.0, "rows": 3}],
    "mistakes": [{"id": EVIL, "text": EVIL, "label": EVIL, "predicted": EVIL, "confidence": 0.9}],
    "slices": [
        {
            "column": EVIL,
            "names_rows": False,
            "values": [
                {"value": EVIL, "rows": 30, "scores": {"accuracy": {"value": 0.75, "low": 0.625, "high": 0.875}}},
                {"value": "small", "rows": 3, "scores": {}},
            ],
        },
        {"column": "order", "names_rows": True, "values": []},
    ],
    "slice_search": {
        "score": "accuracy",
        "rows": 200,
        "searched": 12,
        "level": 0.05,
        "surely_worse": 1,
        "detectable": 0.125,
        "detectable_rows": 20,
        "slices": [
            {
                "conditions": [{"column": EVIL, "value": EVIL}, {"column": "source", "value": "desk"}],
                "rows": 31,
                "score": 0.5161,
                "low": 0.355,
                "high": 0.71,
                "rest": 0.9112,
                "p": 0.001,
            }
        ],
    },
    "confused": [{"label": EVIL, "predicted": EVIL, "rows": 2}],
}
CARD = {"method": "full", "labels": ["a", "b"], "base_name": EVIL}


@pytest.fixture
def page(tmp_path):
    picture = tmp_path / "confusion.png"
    picture.write_bytes(b"\x89PNG")
    report.write(tmp_path / "report.html", SCORES, DETAILS, CARD, [picture])
    return (tmp_path / "report.html").read_text("utf-8")


def test_the_page_needs_no_network_and_no_other_file(page):
    assert "//" not in re.sub(r"base64,[^\"]*", "", page)
    assert set(re.findall(r"(?:src|href)=\"([^\",]*)", page)) == {"data:", "data:image/png;base64"}
    assert "url(" not in page
    assert "@import" not in page
    assert "<script" not in page


def test_texts_and_labels_are_shown_not_run(page):
    assert page.count("&lt;script&gt;") == 13
    assert EVIL not in page


def test_the_page_shows_every_model_with_its_interval(page):
    for title in ("candidate", "probe", "base, untouched"):
        assert f"<th>{title}</th>" in page
    assert page.count("0.5000") == 9
    assert "31 rows per second" in page


def test_the_page_shows_each_slice_with_its_rows_and_says_what_is_none(page):
    assert "0.7500 <small>[0.625, 0.875]</small>" in page and "too few rows" in page
    assert "order has so many values" in page


def test_the_champion_stands_beside_the_others_where_it_was_scored(page, tmp_path):
    champion = {f"champion_{name}{end}": 0.25 for name in NAMES for end in ("", "_low", "_high")}
    report.write(tmp_path / "report.html", SCORES | champion, DETAILS, CARD, [])
    with_champion = (tmp_path / "report.html").read_text("utf-8")
    assert with_champion.count("0.2500") == 3 and "<th>champion of that time</th>" in with_champion
    assert "champion" not in page


def test_a_long_text_is_cut(tmp_path):
    long = [{**DETAILS["mistakes"][0], "text": "word " * 10000}]
    report.write(tmp_path / "report.html", SCORES, {**DETAILS, "mistakes": long}, CARD, [])
    assert len((tmp_path / "report.html").read_text("utf-8")) < 20000


def test_answers_are_shown_beside_the_reference_and_those_of_the_base(tmp_path):
    scores = {f"{who}{name}{end}": 0.5 for who in ("", "base_") for name in TEXTS for end in ("", "_low", "_high")}
    turn = {"role": "user", "content": EVIL}
    answer = {"id": "T-1", "prompt": [turn], "reference": EVIL, "answer": EVIL, "base": EVIL, "rouge_l": 0.25}
    details = {"answers": [answer], "general": {"set": ["sums", "sums"]}}
    scores |= {"rows": 1200, "rows_written": 64, "general_sums": 0.75, "base_general_sums": 0.875}
    report.write(tmp_path / "report.html", scores, details, {**CARD, "template": "chatml"}, [])
    page = (tmp_path / "report.html").read_text("utf-8")
    assert EVIL not in page and page.count("&lt;script&gt;") == 5
    assert "<th>ROUGE-L</th>" in page and "<th>probe</th>" not in page
    assert "1,200 rows that training did not see; answers written for 64 of them" in page
    assert page.count("0.7500") == page.count("0.8750") == 1
    assert "Preferred:" not in page


def test_a_bar_is_drawn_of_each_score_that_is_better_when_larger(page):
    assert page.count('class="meter"') == 6 and page.count('width="50.0"') == 6


def test_labels_that_the_pictures_show_as_codes_are_spelled_out_and_not_run(tmp_path):
    report.write(tmp_path / "report.html", SCORES, {**DETAILS, "codes": {"#1": "返品", "#2": EVIL}}, CARD, [])
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "<b>#1</b> 返品, <b>#2</b> &lt;script&gt;" in page


def test_the_worst_slices_say_how_sure_that_is_and_what_could_not_be_seen(page):
    assert "1 of 12 slices is surely worse" in page and "0.5161" in page and "<b>surely</b>" in page
    assert "A slice of 20 rows is noticed in 80% of cases if its accuracy is worse by 0.125 or more" in page


def test_a_search_that_sees_nothing_gives_no_false_comfort(tmp_path):
    search = {**DETAILS["slice_search"], "surely_worse": 0, "detectable": None}
    report.write(tmp_path / "report.html", SCORES, {**DETAILS, "slice_search": search}, CARD, [])
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "No slice is surely worse than the rest" in page and "So few rows show no slice of 20 rows" in page
