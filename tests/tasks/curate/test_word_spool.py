import pyarrow as pa

from tasks.curate import word_spool
from tasks.curate.word_spool import WordSpool, number_phrase, number_words


def spool(*texts, signs="", longest=100):
    full = WordSpool()
    batch = pa.RecordBatch.from_pydict({"words": [*texts], "signs": [signs] * len(texts)})
    full.add(number_words(batch, longest, None))
    return full


def words(full):
    return [
        (batch.first + int(row), full.names({int(word)})[int(word)])
        for batch in full.batches()
        for row, word in zip(batch.row, batch.word, strict=True)
    ]


def test_words_come_back_in_small_letters_with_signs_as_words():
    assert words(spool("My CARD?!", "", "lost")) == [(0, "my"), (0, "card"), (0, "?!"), (2, "lost")]


def test_each_character_of_a_script_without_spaces_is_a_word():
    assert [word for _, word in words(spool("卡丢了 card"))] == ["卡", "丢", "了", "card"]


def test_what_cleaning_takes_out_is_a_word_too():
    assert words(spool("card", signs="U+200B U+FEFF")) == [(0, "card"), (0, "U+200B"), (0, "U+FEFF")]


def test_a_text_counts_up_to_its_bound():
    assert words(spool("one two three", longest=7)) == [(0, "one"), (0, "two")]


def test_batches_go_on_where_the_last_one_ends_and_are_read_again():
    full = spool("a", "b")
    full.add(number_words(pa.RecordBatch.from_pydict({"words": ["c"], "signs": [""]}), 100, None))
    assert words(full) == words(full) == [(0, "a"), (1, "b"), (2, "c")]
    assert (full.rows, full.words) == (3, 3)


def test_a_full_cache_forgets_no_name(monkeypatch):
    monkeypatch.setattr(word_spool, "CACHE", 2)
    full = spool("a b c d")
    for text in ("d c", "b a"):
        full.add(number_words(pa.RecordBatch.from_pydict({"words": [text], "signs": [""]}), 100, None))
    assert [word for _, word in words(full)] == [*"abcddcba"]


def test_a_phrase_has_the_numbers_of_its_words():
    full = spool("Kindly proceed", signs="U+200B")
    numbers = [int(word) for batch in full.batches() for word in batch.word]
    assert number_phrase("kindly  Proceed U+200B") == tuple(numbers)


def test_answers_that_differ_in_digits_and_signs_share_a_number():
    full = WordSpool()
    labels = ["Call 112!", "call 911", "Write"]
    batch = pa.RecordBatch.from_pydict({"words": ["a"] * 3, "signs": [""] * 3, "label": labels})
    full.add(number_words(batch, 100, "label"))
    first, second, third = full.answers()
    assert first == second != third
