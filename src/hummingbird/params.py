"""Typed, validated parameters: one model per stage section of ``params.yaml``, the active and complete set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hummingbird.errors import UserError
from hummingbird.explain import explain_errors, missing_names

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Rate = Annotated[float, Field(gt=0.0, le=1.0)]
Precision = Literal["fp32", "bf16", "fp16"]


class Section(BaseModel):
    """Base of all parameter sections: an unknown name is an error, and a value is never turned into another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Optim(Section):
    """One phase of training."""

    steps: Positive
    batch_size: Positive
    learning_rate: Rate
    lr_schedule: Literal["constant", "cosine", "linear", "step"] = "cosine"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    decay_every: Positive | None = None  # `step`: steps after which the rate is multiplied by decay_rate
    decay_rate: Fraction = 0.5
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"  # the latter needs bitsandbytes
    betas: tuple[Fraction, Fraction] = (0.9, 0.99)
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0.0)] = 1.0
    accumulate: Positive = 1  # batches to a step, whatever number of processes share them
    ema_decay: Fraction = 0.0
    precision: Precision = "fp32"
    sample_every: Annotated[int, Field(ge=0)] = 0  # steps between validations: samples, and held-out rewards; 0 = none


class PublicCheckpoints(Section):
    """Which public checkpoint, by its name in `hummingbird checkpoints list`, plays which part."""

    teacher: str  # with its VAE and text encoder
    tokenizer: str
    dover: str
    recaptioner: str
    image_reward: str
    image_reward_eval: str  # held out: judges what the other one has trained
    video_reward: str
    video_reward_tokenizer: str
    video_reward_eval: str

    @property
    def names(self) -> list[str]:
        """All of them, each once."""
        return list(dict.fromkeys(self.model_dump().values()))


class Foundation(Section):
    """Where the teacher, the reward models and the helpers come from."""

    mode: Literal["fetch", "train", "checkpoints"] = "fetch"
    source: str = "assets/miniature"  # `fetch`: a folder with a manifest
    budget: Annotated[float, Field(gt=0.0)] = 1.0  # `train`: multiplies every number of steps
    checkpoints: PublicCheckpoints | None = None  # `checkpoints`: what is taken from the store


class Preparation(Section):
    """How a real video becomes clips. The generated world needs none of it."""

    min_clip_s: Annotated[float, Field(ge=0.0)] = 0.5  # seconds; shorter clips are not kept
    max_clip_s: Annotated[float, Field(gt=0.0)] = 20.0  # seconds; longer scenes are cut
    max_video_s: Annotated[float, Field(gt=0.0)] = 14400.0  # from first to last frame; longer videos are not used
    scene_threshold: Annotated[float, Field(gt=1.0)] = 4.0  # a cut changes so many times more than the frames around it
    max_short_side: Annotated[int, Field(ge=16)] = 720  # pixels; larger videos are scaled down
    max_fps: Annotated[float, Field(ge=1.0)] = 60.0  # of faster videos every second, third, ... frame is left
    crf: Annotated[int, Field(ge=0, le=51)] = 18  # of H.264, where a clip must be encoded again
    duplicates: Literal["drop", "mark"] = "drop"  # `mark` keeps them, and says what they repeat
    near_duplicate_bits: Annotated[int, Field(ge=0, le=8)] | None = 3  # of 64 that may differ; none = only exact ones


class Fetch(Section):
    """How videos are fetched from other machines, and what is refused."""

    schemes: tuple[Literal["http", "https", "s3", "file"], ...] = ("http", "https", "s3", "file")
    allow_private: bool = False  # addresses of this machine and of networks that are not the internet
    connections: Positive = 32  # at once
    per_host: Positive = 8  # of them to one server or bucket
    tries: Positive = 4  # in a row without a single new byte
    pause_s: Annotated[float, Field(gt=0)] = 1.0  # before the second try; doubles each time
    max_pause_s: Annotated[float, Field(gt=0)] = 60.0  # a server that asks for a longer one is left alone
    timeout_s: Annotated[float, Field(gt=0)] = 30.0  # of silence
    max_time_s: Annotated[float, Field(gt=0)] = 600.0  # for one video, with all tries
    max_mb: Annotated[float, Field(gt=0)] = 1000.0  # of one video
    keep: bool = True  # what was fetched, after it has gone into a shard: no later run fetches it again


class Needs(Section):
    """What one task of a stage takes while it runs."""

    cpus: Annotated[float, Field(gt=0)] = 1.0
    gpus: Annotated[float, Field(ge=0)] = 0.0
    memory_gb: Annotated[float, Field(gt=0)] = 2.0


class MinKept(Section):
    """Least share of the crawl's clips that each stage must leave. With fewer its gate stops the run: nobody throws
    away nineteen clips of twenty and trains on the rest without having looked."""

    download: Fraction = 0.5  # the crawl's dead links count as lost, too
    vqa_filter: Fraction = 0.1
    motion_filter: Fraction = 0.05
    recaption: Fraction = 0.05


class Curation(Section):
    """Where the work on shards runs, and what the gates ask for. Nothing here shapes results, so no stage is made again
    when it changes."""

    engine: Literal["local", "ray"] = "local"  # processes on this machine, or a Ray cluster
    address: str | None = None  # `ray`: of the cluster, e.g. 10.0.0.1:6379, ray://10.0.0.1:10001, or `auto`
    workers: Positive | None = None  # `local`: processes at most; none = as many as the machine holds
    latents_cache_gb: Annotated[float, Field(ge=0)] = 20.0  # of encoded shards kept for later runs of `encode`
    prepare: Needs = Needs()  # one thread: a video of the stage `download`, or eight clips of the world
    measure: Needs = Needs()  # one thread
    min_kept: MinKept = MinKept()
    encode: Needs = Needs(cpus=4.0, memory_gb=4.0)


class Download(Section):
    """The raw crawl: ``world`` (generated), or what a CSV, a folder, a bucket or a dataset names (docs/curation.md)."""

    source: str = "world"
    format: str | None = None  # a name of sources.FORMATS or `module:name`; none = what the source looks like
    csv: str | None = None  # none = the source itself, or `clips.csv` in it
    fetch: Fetch = Fetch()
    clips: Positive | None = 1024  # at most so many; none = all there are
    world_seed: int = 11
    spoilt_share: Fraction = 0.4
    sloppy_share: Fraction = 0.5
    frames: Positive = 8
    size: Positive = 32
    fps: Positive = 8
    clips_per_shard: Positive = 256  # rows of the source to a shard
    shard_mb: Positive = 1024  # MB; a shard that would grow larger is continued in another
    min_frames: Positive = 8  # shorter clips are not kept
    preparation: Preparation = Preparation()


class SignalBounds(Section):
    """Bounds of the cheap signals (:class:`~hummingbird.data.measuring.signals.Signals`)."""

    max_black: Fraction = 0.5  # share of black frames
    min_highlights: Fraction = 0.2  # a clip is too dark if 98 % of its pixels are darker
    max_shadows: Fraction = 0.55  # and overexposed if 98 % are brighter
    max_frozen: Fraction = 0.95  # share of frames that repeat the one before
    max_bars: Fraction = 0.12  # share of the picture that black bars take
    max_blockiness: Fraction = 0.35  # contrast of steps at the edges of 8x8 blocks and within


class Measure(Section):
    """What is measured on every clip, in one decoding."""

    spare: SignalBounds = SignalBounds()  # beyond these, a clip gets no DOVER and no flow
    signal_frames: Positive = 16  # spread over the clip
    dover_size: Positive | None = 32  # DOVER sees clips scaled to cover this square, centre-cropped; none = as they are
    batch_size: Positive = 16  # clips through DOVER at once
    flow: Literal["dis", "raft"] = "dis"
    flow_weights: str | None = None  # of RAFT: torchvision's file
    side: Annotated[int, Field(ge=64)] = 128  # pixels; flow is measured at this size of the shorter side
    sample_fps: Annotated[float, Field(gt=0)] = 30.0  # flow is measured between frames 1/30 s apart
    flow_pairs: Annotated[int, Field(ge=2)] = 23  # of such frames, spread over the clip
    strip_frames: Positive = 4  # of a clip on a contact sheet
    strip_height: Annotated[int, Field(ge=16)] = 96  # pixels
    strip_quality: Annotated[int, Field(ge=1, le=100)] = 92  # of JPEG


class VqaFilter(SignalBounds):
    """The bar of quality: the signals' bounds, and DOVER's scores, which are 0..1."""

    min_aesthetic: Fraction = 0.0
    min_technical: Fraction = 0.0
    min_overall: Fraction = 0.5
    keep_best: Rate | None = None  # of the clips that pass, keep this share, by overall score; none = all


class MotionFilter(Section):
    """The bounds of motion (:class:`~hummingbird.data.motion.MotionScores`)."""

    max_static: Fraction = 0.9  # share of frames that are the same picture as the first
    max_dolly_zoom: Fraction = 0.1  # share of the texture that stays put while the background zooms
    max_jitter: Annotated[float, Field(ge=0)] | None = 0.5  # of the shorter side per second; none = as shaky as it is
    max_zoom: Annotated[float, Field(ge=0)] | None = None  # log scale over the clip, either way; none = any


class Guard(Section):
    """When a training is given up. Its last good checkpoint stays."""

    explosion: Annotated[float, Field(gt=1)] = 50.0  # a loss so many times its usual size above its usual value
    patience: Positive = 5  # steps in a row
    min_spread: Fraction = 0.02  # least deviation of the pixels (0..1) of validation samples: less is one flat colour
    max_flicker: Fraction = 0.4  # largest mean difference of neighbouring frames' pixels: more is noise


class Training(Section):
    """How training runs on the machine. Nothing here shapes results beyond rounding, so no stage is made again when it
    changes."""

    processes: Positive = 1  # on this machine, one for each GPU; torchrun starts them
    strategy: Literal["ddp", "fsdp"] = "ddp"  # several processes: each holds all weights, or a share of them
    compile: bool = False  # the trained network, by torch.compile
    gradient_checkpointing: bool = False  # of the denoiser: less memory, more time
    checkpoint_every_s: Annotated[float, Field(gt=0)] = 30.0
    checkpoint_every_steps: Positive | None = None
    keep_checkpoints: Positive = 2
    prefetch: Annotated[int, Field(ge=0)] = 2  # batches read ahead
    memory_share: Annotated[float, Field(gt=0)] = 0.9  # of the free memory that a training may plan with
    guard: Guard = Guard()


class Lora(Section):
    """Low-rank adapters beside the frozen weights of every linear and convolutional layer."""

    rank: Positive = 64
    alpha: Annotated[float, Field(gt=0)] = 64.0  # the adapters' output is scaled by alpha / rank
    dropout: Fraction = 0.0


class DecoderLosses(Section):
    """Weights of what the light decoder is trained on, against the VAE's own decoder."""

    l1: Annotated[float, Field(ge=0)] = 1.0  # of pixels, which lie in [-1, 1]
    mse: Annotated[float, Field(ge=0)] = 1.0
    perceptual: Annotated[float, Field(ge=0)] = 0.1  # distance of what the frozen encoder sees
    features: Annotated[float, Field(ge=0)] = 0.5  # of the decoders' blocks, relative to the VAE's
    temporal: Annotated[float, Field(ge=0)] = 1.0  # of the differences between neighbouring frames


class Decoder(Section):
    """A small decoder for the latents, to take the VAE's place."""

    optim: Optim = Optim(steps=1600, batch_size=4, learning_rate=8e-3, warmup_steps=20, ema_decay=0.99)
    losses: DecoderLosses = DecoderLosses()
    channels: tuple[Positive, ...] = (48, 64)  # of each level of the VAE's decoder, from full resolution to the latents
    layers_per_block: Annotated[int, Field(ge=0)] = 0  # residual blocks of a level beyond the first
    norm_groups: Positive = 8
    temporal: bool = True  # a residual convolution over frames, against flicker
    num_frames: Positive = 4  # in training
    frame_stride: tuple[int, int] = (1, 1)
    crop: Positive | None = None  # edge of a random square of the latents that is trained on; none = whole frames
    held_out: Positive = 64  # captions whose clips it is judged on and not trained on
    held_out_frames: Positive = 8  # of each of these clips


class Stage1(Section):
    """Pruning and the two phases of distillation, of which either may be left out (none)."""

    start: Literal["teacher", "random"] = "teacher"  # the student's first weights: the teacher's, or none
    lora: Lora | None = None  # none = all weights are trained

    distillation: Optim | None = Optim(steps=400, batch_size=32, learning_rate=1e-3, warmup_steps=20, ema_decay=0.98)
    consistency: Optim | None = Optim(steps=500, batch_size=32, learning_rate=8e-4, warmup_steps=20, ema_decay=0.98)
    keep_mid_block: bool = False
    num_frames: Positive = 8
    frame_stride: tuple[int, int] = (1, 1)  # drawn from this range where a clip is long enough
    guidance: tuple[float, float] = (2.5, 5.0)  # range of guidance scales the student learns
    guidance_dim: Positive = 256  # of the guidance embedding
    solver_steps: Annotated[int, Field(ge=4, le=1000)] = 50  # of the DDIM grid of distillation and of the student
    huber_c: Annotated[float, Field(gt=0)] = 1e-3
    teacher_precision: Precision = "fp32"
    fps_condition: Literal["clip", "released"] = "clip"  # the clip's own rate; or 8, and 16 in the unconditional pass
    feature_weight: Annotated[float, Field(ge=0)] = 0.0  # of the distance to the features of the teacher's blocks (1a)
    dynamic_rescale: bool = False  # scale clean latents by timestep, as VideoCrafter2 was trained (1a only)
    target_ema_decay: Fraction = 0.0  # of the consistency target's weights; 0 = those of the student itself


class RewardWeights(Section):
    """The mixture of rewards."""

    image_weight: Annotated[float, Field(ge=0)] = 1.0
    video_weight: Annotated[float, Field(ge=0)] = 2.0
    image_frames: Positive = 4  # random ones of each clip
    video_frames: Positive = 8  # evenly strided ones


class Stage2(Section):
    """Mixed reward feedback on top of consistency distillation."""

    optim: Optim = Optim(steps=150, batch_size=24, learning_rate=3e-4, warmup_steps=10, ema_decay=0.95)
    rewards: RewardWeights = RewardWeights()
    lora: Lora | None = None  # none = all weights are trained
    anchor: Literal["consistency", "stage1", "none"] = "consistency"  # what holds the student while rewards pull
    anchor_weight: Annotated[float, Field(ge=0)] = 1.0
    reward_batch: Positive = 16
    decode_frames: Positive | None = None  # decoded at a time, and again in the backward pass; none = all, and kept
    validation_prompts: Annotated[int, Field(ge=0)] = 32  # captions held out, on which the best checkpoint is chosen
    num_frames: Positive = 8
    frame_stride: tuple[int, int] = (1, 1)
    guidance: tuple[float, float] = (2.5, 5.0)
    huber_c: Annotated[float, Field(gt=0)] = 1e-3
    teacher_precision: Precision = "fp32"
    fps_condition: Literal["clip", "released"] = "clip"


class Reneg(Section):
    """Learning a negative embedding for a model that samples with classifier-free guidance."""

    model: str = "teacher"  # the chain's, or the folder of another pipeline that is guided and reads the same text
    optim: Optim = Optim(steps=60, batch_size=8, learning_rate=2e-2, lr_schedule="cosine")
    rewards: RewardWeights = RewardWeights(image_weight=1.0, video_weight=1.0)
    guidance_scale: Annotated[float, Field(ge=1)] = 3.0
    steps: Positive = 12  # of the DDIM roll-out
    late_steps: Positive = 4  # the graded step is one of this many last ones
    decode_frames: Positive | None = None
    num_frames: Positive = 8
    prompt_steps: Positive = 10  # at most, to fit the embedding to one prompt
    prompt_patience: Positive = 3  # such steps without a better reward


class Finetune(Section):
    """Adapters that teach a student the style of a user's clips."""

    optim: Optim = Optim(steps=300, batch_size=8, learning_rate=1e-3, warmup_steps=10, ema_decay=0.9)
    lora: Lora = Lora(rank=16, alpha=16.0)
    num_frames: Positive = 8
    frame_stride: tuple[int, int] = (1, 1)
    guidance: tuple[float, float] = (2.5, 5.0)  # guidance scales at which the student shall show the style
    huber_c: Annotated[float, Field(gt=0)] = 1e-3


class Recaption(Section):
    """Rewriting of captions by a causal language model."""

    backend: Literal["transformers", "openai"] = "transformers"  # a local folder, or an endpoint such as vLLM's
    model: str | None = None  # `transformers`: the folder, none = the foundation's; `openai`: its name there
    endpoint: str | None = None  # `openai`: base address with its version, e.g. http://127.0.0.1:8000/v1
    batch_size: Positive = 64  # `transformers`
    concurrency: Positive = 16  # `openai`: requests at a time
    timeout_s: Annotated[float, Field(gt=0)] = 60.0  # `openai`: of a request
    tries: Positive = 6  # `openai`: of a request, with growing pauses
    max_new_tokens: Positive = 77
    min_kept_words: Fraction = 0.75  # least share of the caption's content words in an answer; 0 = do not compare
    synonyms: str | None = None  # words that count as one when they are compared: `world`, or a JSON file


class Encode(Section):
    """Latents and text embeddings of every kept clip."""

    height: Positive = 32  # frames are scaled to cover this size and centre-cropped
    width: Positive = 32
    max_frames: Positive | None = None  # of a clip; none = all of them
    batch_frames: Positive = 128  # through the VAE at once
    clips_per_shard: Positive = 512


class Vbench(Section):
    """Prompts, seeds and settings under which the models are judged."""

    prompts: Positive = 256  # one object, combinations held out of training
    two_object_prompts: Positive = 48
    prompt_seed: int = 97
    seeds: tuple[int, ...] = (1, 2, 3)  # prompt i is sampled with seed i mod their number
    negative_prompts: Positive = 126  # the first of the one-object prompts, for comparing negative prompts
    negative_prompt: str = "blurry noisy dark washed out pixelated low quality distorted frozen footage"
    diversity_prompts: Positive = 16  # the first of them, sampled again with each of the seeds below
    diversity_seeds: tuple[int, ...] = (11, 12, 13)
    batch_size: Positive = 32
    shown_prompts: Positive = 8  # whose videos are kept for the report
    fps: Positive = 8


class Latency(Section):
    """Teacher against student, timed in turns in one process."""

    prompt: str = "a large plain red circle moves slowly left on sea"
    teacher_repeats: Annotated[int, Field(ge=2)] = 7
    student_repeats: Annotated[int, Field(ge=2)] = 21
    component_repeats: Positive = 2
    warmup: Positive = 1
    large_batch: Positive = 8
    large_batch_repeats: Annotated[int, Field(ge=2)] = 3
    threads: Positive | None = None  # of torch; none = leave as it is


FigureName = Literal[  # of an evaluation; larger is better in each
    "held_out_image_reward",
    "held_out_reward",
    "held_out_video_reward",
    "probe_all",
    "probe_clean",
    "probe_color",
    "probe_motion",
    "probe_shape",
    "vbench_total",
]


class Promotion(Section):
    """What a registered model must show before an alias is moved to it. No stage depends on it."""

    aliases: tuple[str, ...] = ("champion",)  # that `hummingbird promote` may move
    figures: tuple[FigureName, ...] = ("held_out_reward", "probe_all")  # not below the interval of the alias' holder
    max_latency_s: Annotated[float, Field(gt=0)] | None = None  # median of one video, wherever it was timed
    max_latency_ratio: Annotated[float, Field(ge=1)] = 1.1  # to the holder's median, under the same conditions
    approval_timeout_s: Annotated[float, Field(gt=0)] = 86400.0  # how long the flow waits for a person


class Params(Section):
    """The whole of ``params.yaml``."""

    seed: int = 1
    foundation: Foundation = Foundation()
    curation: Curation = Curation()
    download: Download = Download()
    measure: Measure = Measure()
    vqa_filter: VqaFilter = VqaFilter()
    motion_filter: MotionFilter = MotionFilter()
    recaption: Recaption = Recaption()
    encode: Encode = Encode()
    decoder: Decoder = Decoder()
    training: Training = Training()
    stage1: Stage1 = Stage1()
    stage2: Stage2 = Stage2()
    reneg: Reneg = Reneg()
    finetune: Finetune = Finetune()
    vbench: Vbench = Vbench()
    latency: Latency = Latency()
    promotion: Promotion = Promotion()


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and validate a parameter file, which must be complete.

    The file is read as DVC reads it (YAML 1.2: ``1e-4`` is a number, a name that occurs twice is an error).

    Raises:
        UserError: the file is missing or not YAML, a name is unknown or missing, or a value is of the wrong type or out
            of its range. All mistakes are listed together.
    """
    try:
        raw = YAML(typ="safe", pure=True).load(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"no parameter file {path}", f"run from the project folder, or: git checkout {path}") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {error}", "mend the line named above") from error
    try:
        params = Params.model_validate_json(json.dumps({} if raw is None else raw, default=str))
    except ValidationError as error:
        raise _mistakes(path, explain_errors(error, Params)) from error
    if missing := missing_names(params):
        raise _mistakes(path, [f"missing {name}" for name in missing])
    return params


def with_overrides(params: Params, overrides: Mapping[str, Any]) -> Params:
    """``params`` with other values, named as ``section.name``.

    Raises:
        UserError: a name is unknown, or a value is of the wrong type or out of its range.
    """
    values = params.model_dump(mode="json")
    for name, value in overrides.items():
        *sections, last = name.split(".")
        place = values
        for section in sections:
            if not isinstance(place.get(section), dict):
                place[section] = {}  # not a section: validation says so
            place = place[section]
        place[last] = value
    try:
        return Params.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        lines = "\n  ".join(explain_errors(error, Params))
        raise UserError(f"these values cannot be used:\n  {lines}", "see params.yaml for names and values") from error


def dump_params(params: Params) -> str:
    """The complete parameter file that :func:`load_params` reads back as ``params``."""
    return yaml.safe_dump(params.model_dump(mode="json"), sort_keys=False, width=120)


def _mistakes(path: Path, lines: list[str]) -> UserError:
    listed = "\n  ".join([f"{path} is not a valid parameter set:", *lines])
    return UserError(listed, f"mend {path}, then: hummingbird params check")
