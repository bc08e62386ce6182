import pandas as pd

from retune.data import messages, task_data
from tasks.validate import balance

CLASSIFY, INSTRUCT = task_data.of("classify"), task_data.of("instruct")


def rows(labels, **columns):
    table = {"id": range(len(labels)), "text": "a text", "label": labels, "given": "", "source": "desk", **columns}
    return pd.DataFrame(table, index=range(len(labels))).astype("str")


def tables(table, facts=CLASSIFY):
    return {each.by: each for each in balance.of_rows(table, facts)}


def test_rows_are_counted_by_label_source_and_length():
    found_tables = tables(rows(["a"] * 25 + ["b"] * 30))
    assert found_tables["label"].rows == {"b": 30, "a": 25} and found_tables["label"].advice == ()
    assert found_tables["source"].rows == {"desk": 55}
    assert found_tables["length of the text in characters"].rows == {"up to 50": 55}


def test_labels_that_are_too_small_are_named_with_what_to_do():
    table = rows(["a"] * 30 + ["b"] * 25 + ["c"] * 3, given=[""] * 49 + ["test"] * 6 + [""] * 3)
    small, weights = tables(table)["label"].advice
    assert small.startswith("labels with fewer than 20 rows to learn from: c 3, b 19. Collect")
    assert weights.startswith("a has 30 rows and c 3: with train.class_weights: balanced")


def test_the_smallest_of_many_values_are_one_row():
    labels = [f"l{n:02}" for n in range(25) for _ in range(25)]
    counts = tables(rows(labels))["label"].rows
    assert len(counts) == 21 and counts["all other values"] == 5 * 25


def test_a_column_of_dates_is_counted_by_month_and_one_that_names_rows_not_at_all():
    cells = [
        f'{{"channel": "mail", "created": "2026-0{n % 2 + 1}-{n % 28 + 1:02}", "order": "{n}"}}' for n in range(60)
    ]
    found_tables = tables(rows(["a"] * 60, slices=cells))
    assert found_tables["month of created"].rows == {"2026-01": 30, "2026-02": 30}
    assert found_tables["channel"].rows == {"mail": 60} and "order" not in found_tables


def test_of_messages_the_words_are_measured():
    text = messages.dump([{"role": "user", "content": "x" * 60}])
    found_tables = tables(rows(["an answer"], text=[text]), INSTRUCT)
    assert found_tables["length of the text in characters"].rows == {"up to 100": 1} and "label" not in found_tables


def test_a_table_without_its_columns_has_no_balance():
    assert balance.of_rows(pd.DataFrame(), CLASSIFY) == []


def test_the_forms_of_answers_are_counted_and_an_odd_one_is_named():
    answers = (
        ["Your parcel is late."] * 60 + ["Do this:\n- look\n- ask"] * 10 + ["```\nx\n```", '{"a": 1}', "one\n\ntwo"]
    )
    form = tables(rows(answers), INSTRUCT)["form of the answer"]
    assert form.rows == {"plain": 60, "list": 10, "JSON": 1, "code": 1, "paragraphs": 1}
    assert form.advice[0].startswith("few answers have another form than most: ")
    assert "list" not in form.advice[0] and "JSON 1" in form.advice[0]
    alike = tables(rows(answers[:60]), INSTRUCT)
    assert alike["form of the answer"].advice == ()
    assert alike["length of the answer in characters"].rows == {"up to 50": 60}


def test_greetings_and_signatures_of_answers_are_counted():
    framed = "Hello Ms Lee,\n\nyour parcel is late.\n\nThe support team"
    answers = [framed] * 30 + ["Your parcel is late.\nWe are sorry."] * 2 + ["Hi!\nIt is late."] * 30
    frame = tables(rows(answers), INSTRUCT)["frame of the answer"]
    assert frame.rows == {"greeting": 30, "greeting and signature": 30, "no greeting, no signature": 2}
    assert "another frame than most: no greeting, no signature 2" in frame.advice[0]


GERMAN, ENGLISH = "Mein Konto ist seit gestern gesperrt", "My account has been locked since yesterday"


def test_languages_are_counted_and_several_are_worth_slices():
    language = tables(rows(["a"] * 40, text=[ENGLISH] * 29 + [GERMAN] * 10 + ["0815"]))["language"]
    assert language.rows == {"en": 29, "de": 10, "other or unsure": 1}
    assert language.advice == ("texts are of several languages: curate.languages: [de, en] makes each of them a slice",)
    table = tables(rows(["a"] * 2, text=[ENGLISH, GERMAN], slices=['{"language": "x"}'] * 2))
    assert table["language"].rows == {"x": 2}


def test_of_many_rows_a_sample_has_its_language_told(monkeypatch):
    monkeypatch.setattr(balance, "LOOKED_AT", 4)
    assert tables(rows(["a"] * 90, text=ENGLISH))["language, of 4 rows"].rows == {"en": 4, "other or unsure": 0}


def test_an_answer_in_another_language_than_its_prompt_is_named():
    prompts = [messages.dump([{"role": "user", "content": text}]) for text in [ENGLISH] * 3 + [GERMAN] * 2]
    answers = [ENGLISH, ENGLISH, GERMAN, GERMAN, "ok"]
    table = tables(rows(answers, text=prompts), INSTRUCT)["language of the answer"]
    assert table.rows == {"that of the prompt, or unsure": 4, "another": 1}
    assert table.advice == ("answers in another language than their prompt, such as that of row 2",)
