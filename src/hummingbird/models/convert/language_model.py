"""A causal language model of the hub: taken as it is, once it is known to be whole and to need nothing but tensors."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from hummingbird.data.recaption.transformers_backend import Recaptioner
from hummingbird.errors import UserError
from hummingbird.models.convert.keymap import counted

_KEPT = (".json", ".safetensors", ".txt", ".model", ".jinja")
_AGAIN = "fetch it again, with all *.json and *.safetensors files of its repository"


def write_language_model(source: Path, target: Path) -> None:
    """Copy transformers' folder ``source``; every tensor that the model needs must be there in its shape.

    The weights are not read into memory: the file headers say what there is.

    Raises:
        UserError: a file is missing or damaged, the tensors are not the model's, the model asks for code of its own, or
            it does not follow instructions.
        OSError: the disk is full.
    """
    if not any(source.glob("*.safetensors")):
        raise UserError(f"{source} holds no *.safetensors: weights of other kinds are not read", _AGAIN)
    try:
        with _quiet():
            model, found = AutoModelForCausalLM.from_pretrained(
                source,
                local_files_only=True,
                use_safetensors=True,
                device_map="meta",
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are listed below
            )
            tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{source} holds no whole language model: {error}", _AGAIN) from error
    _require_all(source, found)
    Recaptioner(model, tokenizer)  # follows instructions: has a chat template
    for file in sorted(path for path in source.iterdir() if path.suffix in _KEPT and not path.name.startswith(".")):
        shutil.copyfile(file, target / file.name)


def _require_all(source: Path, found: Mapping[str, Iterable[Any]]) -> None:
    """Refuse a model whose tensors are not those of the files, by transformers' report."""
    lines = []
    for what in ("missing", "unexpected", "mismatched"):
        names = sorted(str(it[0] if isinstance(it, tuple) else it) for it in found[f"{what}_keys"])
        if names:
            lines.append(counted(what, names))
    if lines:
        raise UserError(f"{source} does not hold the tensors of its config.json: {'; '.join(lines)}", _AGAIN)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bar and its own report of the tensors."""
    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
