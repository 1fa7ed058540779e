"""Pictures as MLflow's page of a run wants them. ``MlflowClient.log_image`` would make and send them in one go, and
under another name if it is repeated; these files can wait, and be sent twice."""

from __future__ import annotations

import re
import time
import uuid
from pathlib import Path
from typing import Any


def write_image(folder: Path, key: str, image: Any, step: int) -> list[Path]:
    """Write a picture, and a small one for the overview, under the names by which MLflow knows its key and step.

    Args:
        image: uint8 array [H, W, 3], or a PIL image.
    """
    import numpy as np
    from mlflow.tracking.multimedia import compress_image_size, convert_to_pil_image

    picture = convert_to_pil_image(image) if isinstance(image, np.ndarray) else image
    plain = re.sub(r"[^a-zA-Z0-9_\-. ]", "~", key)
    name = f"{plain}+step+{step}+timestamp+{int(time.time() * 1000)}+{uuid.uuid4()}"
    large, small = folder / f"{name}.png", folder / f"{name}+compressed.webp"
    picture.save(large)
    compress_image_size(picture).save(small)
    return [large, small]
