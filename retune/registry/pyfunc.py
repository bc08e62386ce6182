"""What a registered model runs when MLflow loads it. Stored with the model as code: nothing is pickled.

    mlflow.pyfunc.load_model("models:/<name>@champion").predict(pandas.DataFrame({"text": [...]}))

gives a frame with the columns `label`, `confidence` and `route`: `auto`, or `human` where a person must read it. Of a
model that writes, the text is a prompt, plain or as JSON messages, `label` what it writes, and `confidence` the mean
probability of its tokens.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Served(PythonModel):  # type: ignore[misc]  # MLflow is not typed
    def load_context(self, context: Any) -> None:
        from retune.errors import Refused
        from retune.lineage import checksums
        from retune.models import loading, routing

        folder = Path(context.artifacts["model"])
        wrong = [link for link in checksums.check(folder.parent.parent, None) if not link.ok]
        if wrong:
            raise Refused(f"{wrong[0].name} is not what was registered: {wrong[0].expected}, found {wrong[0].found}")
        self.model, self.routing = loading.load(folder), routing.read(folder)

    def predict(  # MLflow reads the names
        self,
        context: Any,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        answers = self.model.predict([str(text) for text in model_input["text"]])
        routes = self.routing.routes(answers.labels, answers.confidence)
        confidence = answers.confidence.astype("float64")
        return pd.DataFrame({"label": answers.labels, "confidence": confidence, "route": routes})


set_model(Served())
