from retune.models import classifier
from tasks.evaluate import memorisation
from tasks.evaluate.memorisation import Opinion
from tests.tasks.evaluate.test_classification import SECTION


def test_the_section_compares_drawn_rows_of_both_kinds_and_leaves_unknown_labels_out(model_folder, make_tickets):
    model = classifier.load(model_folder)
    train, test = make_tickets(60), make_tickets(30, seed=5)
    test.loc[:14, "label"] = "unheard of"
    opinion = Opinion(model, model.head, model.embed(test["text"].tolist()))
    section = memorisation.section(train, test, opinion, opinion, SECTION)
    assert section.details == {"learned_rows": 20, "held_out_rows": 15}
    assert set(section.measures) == set(memorisation.TITLES)
    assert all(each.low <= each.value <= each.high and each.n == 35 for each in section.measures.values())
    nothing = memorisation.section(train.head(0), test.head(0), opinion, opinion, SECTION)
    assert nothing.measures == {}
