"""Videos of the same prompts and seeds while a model trains."""

from __future__ import annotations

from pathlib import Path

from hummingbird.data.sheets import contact_sheet, save_sheet
from hummingbird.pipelines.text_to_video import TextToVideoPipeline
from hummingbird.runlog import RunLog


class SampleSheets:
    """Draws a contact sheet every so many steps, to the log and to a folder; a trainer's ``on_step``.

    Args:
        every: steps between two sheets; 0 draws none.
        offset: added to the step, where a stage trains in phases.
    """

    def __init__(
        self,
        pipeline: TextToVideoPipeline,
        prompts: list[str],
        every: int,
        *,
        folder: Path,
        log: RunLog,
        offset: int = 0,
    ) -> None:
        self.pipeline, self.prompts, self.every = pipeline, prompts, every
        self.folder, self.log, self.offset = folder, log, offset

    def __call__(self, step: int) -> None:
        if not self.every or step % self.every:
            return
        modules = [self.pipeline.unet, self.pipeline.text_encoder, self.pipeline.vae]
        training = [module.training for module in modules]
        for module in modules:
            module.eval()
        videos = self.pipeline(self.prompts, seeds=list(range(len(self.prompts))))
        for module, mode in zip(modules, training, strict=True):
            module.train(mode)
        sheet = contact_sheet(list(videos), self.prompts)
        save_sheet(sheet, self.folder / f"step_{self.offset + step:06d}.png")
        self.log.image("samples", sheet, self.offset + step)
