"""The one or two rounds of every decoder training, and what comes of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from retune.models import causal_lm, classifier
from retune.models.manifest import CausalLMManifest
from tasks.train import loop
from tasks.train.checkpoint import Checkpoints
from tasks.train.decoder.network import DecoderContext, Learner
from tasks.train.distributed import collectives
from tasks.train.loop import Objective, TrainingHistory

MakeObjective = Callable[[nn.Module, int, bool], Objective]  # of a network, epochs, and whether val is learned too


@dataclass(frozen=True)
class TrainedCausalLM:
    """What a training made: a model folder that is not written yet, and how it went."""

    manifest: CausalLMManifest
    tokenizer: Any
    network: nn.Module
    history: TrainingHistory
    report: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write the model folder. Of several processes the first one writes."""
        if not collectives.rank():
            causal_lm.save(folder, self.manifest, self.tokenizer, self.network)


def choose_then_refit(learner: Learner, objective: MakeObjective, context: DecoderContext) -> TrainingHistory:
    """Choose the epoch on val; then, if `config.refit`, learn train and val from the start for as many epochs."""
    config = context.config
    choosing_round = _train(
        learner.network, objective(learner.network, config.epochs, False), context.in_folder("choose")
    )
    if not config.refit:
        return choosing_round
    refit = context.refit(choosing_round.steps)
    learner.restart(context)
    return _train(learner.network, objective(learner.network, choosing_round.best_epoch, True), refit).after(
        choosing_round
    )


def _train(network: nn.Module, objective: Objective, context: DecoderContext) -> TrainingHistory:
    parameters = dict(classifier.trainable({"network": network}))
    return loop.train_loop(parameters, objective, context.config, Checkpoints(context.work), context.on_progress)
