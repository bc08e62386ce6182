from dataclasses import replace

import numpy as np
import torch

from retune.evaluation import measures
from retune.models import classifier
from retune.promotion.gate_record import own_guardrails
from tasks.evaluate import memorisation
from tasks.evaluate.memorisation import Opinion
from tests.support.gate import SECTION as PROMOTE
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


def test_a_classifier_that_learned_its_rows_by_heart_is_refused_by_the_gate(model_folder, make_tickets):
    model, draw = classifier.load(model_folder), np.random.default_rng(3)
    labels = np.array(model.manifest.labels, dtype=object)
    train, test = (rows.assign(label=draw.choice(labels, 20)) for rows in (make_tickets(20), make_tickets(20, seed=5)))
    vectors, held_out = (model.embed(rows["text"].tolist()) for rows in (train, test))
    truth = torch.tensor(train["label"].to_numpy()[:, None] == labels[None, :]).float()
    weight = torch.linalg.lstsq(vectors - vectors.mean(0), truth - truth.mean(0), driver="gelsd").solution.T * 40
    by_heart = classifier.linear(weight, -(weight @ vectors.mean(0)))
    candidate, untouched = Opinion(model, by_heart, held_out), Opinion(model, model.head, held_out)

    def decided(opinion):
        section = memorisation.section(train, test, opinion, untouched, SECTION)
        guardrails, reasons = own_guardrails(measures.details([section]), replace(PROMOTE, max_membership_auc=0.6))
        return [each.violated for each in guardrails], reasons

    violated, (reason,) = decided(candidate)
    assert violated == [True] and "surely above the bound of 0.6" in reason
    assert decided(untouched)[0] == [False], "which saw neither"
