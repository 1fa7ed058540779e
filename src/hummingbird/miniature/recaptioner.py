"""Training of the miniature recaptioner: a small Llama that turns stock-footage captions of the world into clean ones.

It learns to say what the caption says, in the canonical grammar, to leave out what is missing, to leave clean captions
as they are, and to answer nothing where it does not know the words.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hummingbird.data import sloppy, world
from hummingbird.data.captions import CaptionError, Facts, compose, facts_of, parse
from hummingbird.data.recaption.transformers_backend import Recaptioner
from hummingbird.params import Optim
from hummingbird.runlog import RunLog
from hummingbird.training.trainer import Trainer
from hummingbird.training.workfolder import config_key

STEPS = 1000
BATCH_SIZE = 48
CLEAN_SHARE, UNKNOWN_SHARE = 0.2, 0.08
MAX_NEW_TOKENS = 32
_IGNORED = -100

#: The system turn is for models that can read rules; this one has its rule in its weights.
_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ message['content'] }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<answer>{% endif %}"
)
#: Everyday words: enough to let it see English that is not about the world, without knowing it.
_STRANGE = ("a", "an", "the", "in", "of", "on", "at", "and", "with", "is", "to", "by", "from", "two", "man", "woman")


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Whole words, lower case, every number the same; words unknown to the world are ``<unk>``."""
    synonyms = (phrase for group in sloppy.SYNONYMS.values() for phrase in group)
    phrases = [*sloppy.SYNONYMS, *synonyms, *sloppy.VERBS, *sloppy.NOISE, *sloppy.PLACES, *_STRANGE]
    phrases.append("moves stays still on while the camera zooms pans")
    normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(Regex(r"\d+"), "0")])
    splitter = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    words = {
        word
        for phrase in phrases
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(phrase.replace("{}", "")))
    }
    special = ["<pad>", "<unk>", "<s>", "</s>", "<caption>", "</caption>", "<answer>"]
    vocabulary = {token: index for index, token in enumerate([*special, *sorted(words | set(",.-#0"))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=special[4:],
        clean_up_tokenization_spaces=False,
        model_max_length=128,
    )
    fast.chat_template = _CHAT_TEMPLATE
    return fast


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Three layers of width 96: about 0.36 million parameters."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=96,
            intermediate_size=256,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            initializer_range=0.05,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _strange(rng: np.random.Generator) -> str:
    """A caption that is mostly unknown words, some of the known ones among them."""
    known = [*_STRANGE, *(word for group in sloppy.SYNONYMS.values() for word in group)]
    share = rng.uniform(0.4, 1.0)
    count = int(rng.integers(2, 14))
    return " ".join("zzz" if rng.random() < share else known[int(rng.integers(len(known)))] for _ in range(count))


def make_pair(rng: np.random.Generator) -> tuple[str, str]:
    """A caption as it may come, and the answer that is wanted."""
    draw = rng.random()
    if draw < UNKNOWN_SHARE:
        return _strange(rng), ""
    scene = world.sample_scene(rng)
    text, facts = sloppy.dirty(scene, rng)
    if draw < UNKNOWN_SHARE + CLEAN_SHARE / 2:
        facts = facts_of(scene)
        return compose(facts), compose(facts)
    if draw < UNKNOWN_SHARE + CLEAN_SHARE:
        return compose(facts), compose(facts)
    return text, compose(facts)


def collate(pairs: list[tuple[str, str]], prompts: list[str], tokenizer: PreTrainedTokenizerFast) -> dict[str, Tensor]:
    """Token ids, mask and labels [B, L]; only the answer and its end are labels."""
    asked = tokenizer(prompts, add_special_tokens=False).input_ids
    wanted = tokenizer([answer for _, answer in pairs], add_special_tokens=False).input_ids
    rows = [(a, [*w, tokenizer.eos_token_id]) for a, w in zip(asked, wanted, strict=True)]
    length = max(len(a) + len(w) for a, w in rows)
    ids = torch.full((len(rows), length), tokenizer.pad_token_id)
    labels = torch.full((len(rows), length), _IGNORED)
    for number, (a, w) in enumerate(rows):
        ids[number, : len(a) + len(w)] = torch.tensor([*a, *w])
        labels[number, len(a) : len(a) + len(w)] = torch.tensor(w)
    return {"input_ids": ids, "attention_mask": (ids != tokenizer.pad_token_id).long(), "labels": labels}


class RewriteMethod:
    """Cross entropy of the wanted answer."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        self.model = model

    @property
    def trainable(self) -> nn.Module:
        return self.model

    def loss(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        return self.model(**batch).loss, {}


def train(out: Path, *, seed: int, budget: float, work: Path, log: RunLog) -> dict[str, float]:
    """Train from nothing and save to ``out``; ``budget`` multiplies the steps. Returns :func:`quality`."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    recaptioner = Recaptioner(build_model(tokenizer), tokenizer)
    optim = Optim(
        steps=max(2, round(STEPS * budget)),
        batch_size=BATCH_SIZE,
        learning_rate=3e-3,
        warmup_steps=round(50 * budget),
        weight_decay=0.01,
    )

    def data(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([seed, step])
        pairs = [make_pair(rng) for _ in range(optim.batch_size)]
        return collate(pairs, [recaptioner.prompt(text) for text, _ in pairs], tokenizer)

    work = work / f"recaptioner_{config_key(seed, optim.model_dump())}"
    method = RewriteMethod(recaptioner.model)
    Trainer(method, data, optim, work=work, seed=seed, log=log, description="recaptioner", on_cpu=True).fit()
    figures = quality(recaptioner, seed=seed + 1, count=max(16, round(512 * min(1.0, budget))))
    recaptioner.model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    return {**figures, "steps": float(optim.steps)}


def _invents(answer: str, stated: Facts) -> bool:
    """Whether an answer is no canonical caption, or says something that the sloppy caption did not."""
    try:
        said = parse(answer)
    except CaptionError:
        return True
    if len(said.objects) != len(stated.objects):
        return True
    pairs = [(said, stated), *zip(said.objects, stated.objects, strict=True)]
    names = ("relation", "background", "motion", "speed", "color", "shape", "texture", "size")
    return any(
        getattr(said_part, name) not in (None, getattr(stated_part, name))
        for said_part, stated_part in pairs
        for name in names
        if hasattr(said_part, name)
    )


def quality(recaptioner: Recaptioner, *, seed: int, count: int) -> dict[str, float]:
    """Shares over ``count`` fresh captions of each kind.

    ``exact``: sloppy captions rewritten to the letter; ``invented``: with a fact that was not there (or no caption at
    all); ``clean_unchanged``: clean ones left alone; ``strange_refused``: those of unknown words answered with nothing.
    """
    rng = np.random.default_rng([seed, 7])
    scenes = [world.sample_scene(rng, held_out=index % 2 == 1) for index in range(count)]
    dirty = [sloppy.dirty(scene, rng) for scene in scenes]
    clean = [world.caption(scene) for scene in scenes]
    answers = recaptioner.answer([text for text, _ in dirty], MAX_NEW_TOKENS)
    copied = recaptioner.answer(clean, MAX_NEW_TOKENS)
    refused = recaptioner.answer([_strange(rng) for _ in range(count)], MAX_NEW_TOKENS)
    stated = [facts for _, facts in dirty]
    return {
        "exact": float(np.mean([answer == compose(facts) for answer, facts in zip(answers, stated, strict=True)])),
        "invented": float(np.mean([_invents(answer, facts) for answer, facts in zip(answers, stated, strict=True)])),
        "clean_unchanged": float(np.mean([a == b for a, b in zip(copied, clean, strict=True)])),
        "strange_refused": float(np.mean([not answer for answer in refused])),
        "n": float(count),
    }
