import numpy as np
import pandas as pd
import pytest
from matplotlib import image

from retune.evaluation import plots


def square(size):
    counts = np.arange(size * size).reshape(size, size) % 7
    names = [f"label {number}" for number in range(size)]
    return pd.DataFrame(counts, index=names, columns=names)


def drawn(path):
    """The picture as an array; it is one, and it is not blank."""
    pixels = image.imread(path)
    assert pixels[..., :3].std() > 0.01
    return pixels


@pytest.mark.parametrize("size", [2, 12, 77])
def test_a_confusion_matrix_is_drawn_for_few_labels_and_for_many(tmp_path, size):
    plots.confusion(square(size), tmp_path / "new" / "confusion.png")
    assert max(drawn(tmp_path / "new" / "confusion.png").shape[:2]) < 1600


def test_the_same_scores_are_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        plots.confusion(square(4), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_reliability_is_drawn_for_three_models_and_for_a_single_row(tmp_path):
    draw = np.random.default_rng(1)
    some = (draw.random(50) < 0.7, draw.random(50))
    plots.reliability({"candidate": some, "base": some, "probe": some}, 15, tmp_path / "many.png")
    plots.reliability({"candidate": (np.array([True]), np.array([1.0]))}, 15, tmp_path / "one.png")
    assert not np.array_equal(drawn(tmp_path / "many.png"), drawn(tmp_path / "one.png"))


@pytest.mark.parametrize(
    "points",
    [
        [{"step": 0}],
        [{"step": 1, "train_loss": 1.0}, {"step": 2, "val_loss": 0.9, "val_macro_f1": 0.5, "val_accuracy": 0.6}],
    ],
    ids=["probe: no steps", "a fine-tuning"],
)
def test_a_learning_curve_is_drawn_with_points_and_without(tmp_path, points):
    plots.learning_curve(pd.DataFrame(points), tmp_path / "curve.png")
    drawn(tmp_path / "curve.png")


def test_lengths_are_drawn_with_their_limit_and_without_a_row(tmp_path):
    draw = np.random.default_rng(1)
    plots.lengths({"whole": draw.integers(20, 300, 500), "prompt": draw.integers(5, 40, 500)}, 128, tmp_path / "a.png")
    drawn(tmp_path / "a.png")
    plots.lengths({"whole": np.array([], dtype=int)}, 128, tmp_path / "b.png")


def labelled(*names):
    return pd.DataFrame(np.arange(len(names) ** 2).reshape(len(names), -1), index=names, columns=names)


def test_labels_with_signs_of_tex_are_drawn_as_they_are_written(tmp_path):
    names = ("tier_$10_$20", "$#$", r"\\frac{", "100%_$", "a^b_c")
    assert plots.confusion(labelled(*names), tmp_path / "a.png") == {}
    drawn(tmp_path / "a.png")


@pytest.mark.filterwarnings("error")  # matplotlib warns of each glyph that is missing
def test_a_label_that_no_font_can_draw_has_a_code(tmp_path):
    unknown = "\U0001fbf0\ue000"  # of no script that a font is sure to have
    codes = plots.confusion(labelled("مرتجع", unknown, "❤\ufe0f", "x" * 200, "two\nlines"), tmp_path / "a.png")
    assert codes == {"#2": unknown, "#4": "x" * 200}
    drawn(tmp_path / "a.png")


def test_long_labels_that_begin_alike_are_drawn_apart():
    labels = ["the same beginning of forty letters and one", "the same beginning of forty letters and two", "b"]
    names, codes = plots.drawn_names(labels, set())
    assert names == ["#1 the same beginning of fo…", "#2 the same beginning of fo…", "b"]
    assert max(map(len, names)) <= plots.LONGEST_LABEL
    assert codes == {"#1": labels[0], "#2": labels[1]}


def test_a_label_of_characters_that_no_font_has_is_drawn_as_its_code():
    assert plots.drawn_names(["返品", "b", " "], {"返"}) == (["#1", "b", "#3"], {"#1": "返品", "#3": " "})
