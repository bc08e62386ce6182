from retune.config import params
from retune.models import text_vectors
from tests.support.environment import ROOT


def test_the_encoder_is_the_base_that_retune_ships():
    assert params.load(ROOT / "params.yaml").train.base == text_vectors.SHIPPED


def test_texts_that_say_the_same_are_near():
    vectors = text_vectors.embed(["Where is my parcel?", "Where is my package?", "I lost my card"], "cpu")
    cosines = vectors @ vectors.T
    assert vectors.shape[0] == 3 and abs(float(cosines[0, 0]) - 1) < 1e-5
    assert cosines[0, 1] > 0.5 > cosines[0, 2]
