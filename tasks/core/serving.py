"""What a registered model runs when MLflow loads it. Stored with the model as code: nothing is pickled.

    mlflow.pyfunc.load_model("models:/<name>@champion").predict(pandas.DataFrame({"text": [...]}))

gives a frame with the columns `label` and `confidence`.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class ServedClassifier(PythonModel):
    def load_context(self, context: Any) -> None:
        from tasks.core import model

        self.classifier = model.load(Path(context.artifacts["model"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        said = self.classifier.predict([str(text) for text in model_input["text"]])
        return pd.DataFrame({"label": said.labels, "confidence": said.confidence.astype("float64")})


set_model(ServedClassifier())
