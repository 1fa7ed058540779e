"""The registered model, as MLflow serves it: prompts in, videos out.

MLflow copies this file into each version and runs it there, with the copy of our code that lies beside it. A video
carries the same facts as one of ``hummingbird generate``; those of the weights and the code were written down when the
version was registered.
"""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

import hummingbird
from hummingbird.data.mp4_tags import tagged
from hummingbird.data.video_io import encode_mp4
from hummingbird.errors import UserError
from hummingbird.pipelines.loading import load_folder

MOST_FRAMES = 8  # times the model's own number: a request must not take all memory
OPTIONS = ("seed", "steps", "num_frames")
CRF, PIXELS = 12, "yuv420p"  # as `hummingbird generate`: browsers play it


class PromptToVideo(PythonModel):
    """One video for each row: ``prompt``, and where given ``seed`` (0), ``steps`` and ``num_frames`` (the model's)."""

    def load_context(self, context: PythonModelContext) -> None:
        self.pipeline = load_folder(Path(context.artifacts["pipeline"]))
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.pipeline.to(self.device)
        self.made_of = dict(context.model_config or {})  # "model", "weights", "runs" and "code"

    def predict(self, context: PythonModelContext, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """Columns ``video`` (MP4, base64), ``fps``, ``frames`` and ``seconds`` (it took to make).

        Raises:
            MlflowException: an empty prompt, or an option out of its range; the server answers with status 400.
        """
        return pd.DataFrame([self._make(row) for row in model_input.to_dict("records")])

    def _make(self, row: dict[str, Any]) -> dict[str, Any]:
        start = time.perf_counter()
        given = {name: int(row[name]) for name in OPTIONS if row.get(name) is not None and not pd.isna(row[name])}
        self._check(given)
        try:
            [video] = self.pipeline(
                [row["prompt"]],
                seeds=[given.get("seed", 0)],
                num_inference_steps=given.get("steps"),
                num_frames=given.get("num_frames"),
            )
        except (UserError, ValueError) as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        fps = self.pipeline.config.fps
        mp4 = tagged(encode_mp4(video, fps, CRF, PIXELS), self._facts(row["prompt"], given, len(video)))
        encoded = base64.b64encode(mp4).decode()
        return {"video": encoded, "fps": float(fps), "frames": len(video), "seconds": time.perf_counter() - start}

    def _facts(self, prompt: str, given: dict[str, int], frames: int) -> dict[str, Any]:
        """What :func:`hummingbird.generate.facts` tells, so that ``hummingbird lineage`` reads it."""
        return self.made_of | {
            "prompt": prompt,
            "seed": given.get("seed", 0),
            "steps": given.get("steps") or self.pipeline.config.num_inference_steps,
            "frames": frames,
            "guidance": float(self.pipeline.config.guidance_scale),
            "scale": 1,
            "decoder": "original",
            "versions": {"hummingbird": hummingbird.__version__, "torch": torch.__version__},
            "device": self.device,
        }

    def _check(self, given: dict[str, int]) -> None:
        config = self.pipeline.config
        grid = self.pipeline.scheduler.config
        ranges = {
            "seed": (0, 2**63 - 1),
            "steps": (1, grid.get("original_inference_steps") or grid.num_train_timesteps),
            "num_frames": (1, MOST_FRAMES * config.num_frames),
        }
        for name, value in given.items():
            low, high = ranges[name]
            if not low <= value <= high:
                raise MlflowException.invalid_parameter_value(f"{name} is {value}, but must be in {low}..{high}")


set_model(PromptToVideo())
