"""params.yaml as frozen, typed and bounded sections.

No key has a default, but for the columns of a parquet file. There are no unknown keys, and every
mistake is named at once. Nothing is derived here: a change of this file re-runs no stage.
"""

import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from stages.config import paths
from stages.config.mistakes import (
    UserError,
    enumerate_keys,
    explain,
    refuse_conflict,
    show,
    show_line,
    suggest,
)

PARAMS = Path("params.yaml")
UNFIT = ("Cc", "Cs")
"""Unicode's categories of control characters and of halves of characters: no text has them."""
UNSEEN = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and signs that are drawn as nothing."""


def _refuse_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("should be a number")
    return value


def _check_text(value: str) -> str:
    if not value.strip() or value != value.strip() or len(value.splitlines()) != 1:
        raise ValueError("should be one line of text without blanks at its ends")
    return value


def is_blank(text: str) -> bool:
    """Whether a text has none but blanks and characters that are drawn as nothing."""
    return all(c.isspace() or c in UNSEEN or unicodedata.category(c) in ("Cf", "Mn") for c in text)


def _check_phrase(value: str) -> str:
    if is_blank(value):
        raise ValueError("should hold a character that is seen")
    unfit = [c for c in value if unicodedata.category(c) in UNFIT]
    if unfit:
        raise ValueError(f"should hold no control characters, but {unfit[0]!a} is there")
    if "  " in value:  # DVC folds long lines in dvc.lock there, and reads back one blank
        raise ValueError("should have single blanks between its words")
    return value


def _check_template(value: str) -> str:
    if value.count("{}") != 1:
        raise ValueError("should hold exactly one {} for the class name")
    return value


def _check_word(value: str) -> str:
    if len(value.split()) != 1 or value != value.lower():
        raise ValueError("should be one word in lower case, such as <thing>")
    return value


def _check_distinct(values: list[Any]) -> list[Any]:
    """Text is compared as sources do: an umlaut may be one character or two."""
    forms = [unicodedata.normalize("NFC", v) if isinstance(v, str) else v for v in values]
    repeated = [values[i] for i, form in enumerate(forms) if form in forms[:i]]
    if repeated:
        raise ValueError(f"should name each once, but {show(repeated[0])} is there twice")
    return values


def _read_word(word: str) -> BeforeValidator:
    """Take a word of the file for None: DVC's writer would turn a null into nothing at all."""
    return BeforeValidator(lambda value: None if value == word else value)


def _check_root(root: str | None, info: ValidationInfo) -> str | None:
    source = info.data.get("source")
    if source == "drawn" and root is not None:
        raise ValueError("should be none: source drawn reads no files")
    if source not in (None, "drawn") and root is None:
        raise ValueError(f"should be a path: source {source} reads files")
    return root


def _check_column(column: str | None, info: ValidationInfo) -> str | None:
    source = info.data.get("source")
    if source not in (None, "parquet") and column is not None:
        raise ValueError(f"should be left out: source {source} has no columns")
    if source == "parquet" and column is None:
        if info.field_name == "image_column":
            raise ValueError("should name the column of encoded pictures: source is parquet")
        if info.field_name == "caption_column" and info.data.get("label_column") is None:
            raise ValueError("should name a column, as label_column is left out too")
    return column


def _check_prompts(marketing: tuple["MarketingPrompt", ...]) -> tuple["MarketingPrompt", ...]:
    _check_distinct([row.prompt for row in marketing])
    return marketing


def _check_data(data: str, info: ValidationInfo) -> str:
    if data == "pairs" and info.data.get("method") == "textual_inversion":
        raise ValueError("should be subject: textual_inversion learns a word for one subject")
    return data


def _check_negative(prompt: str | None, info: ValidationInfo) -> str | None:
    if prompt is not None and info.data.get("guidance_scale") == 1:
        raise ValueError("should be none: guidance_scale 1 is no guidance, towards or away")
    return prompt


def _check_lora(lora: "LoraParams", info: ValidationInfo) -> "LoraParams":
    if lora.use_dora and info.data.get("method") == "hydra_lora":
        raise ValueError("use_dora should be false: what method hydra_lora adds is no weight")
    return lora


def _check_warmup(steps: int, info: ValidationInfo) -> int:
    limit = info.data.get("max_train_steps", steps)
    if steps > limit:
        raise ValueError(f"should be at most max_train_steps, {limit}")
    return steps


def _check_machines(num_machines: int, info: ValidationInfo) -> int:
    num_processes = info.data.get("num_processes", num_machines)
    if num_processes % num_machines:
        raise ValueError(f"should divide num_processes, {num_processes}")
    return num_machines


def _check_config_file(config_file: str | None, info: ValidationInfo) -> str | None:
    if config_file is not None and info.data.get("num_processes") == 1:
        raise ValueError("should be none: one process is not launched")
    return config_file


def _check_parts(launch: "LaunchParams", info: ValidationInfo) -> "LaunchParams":
    finetune = info.data.get("finetune")
    if finetune is not None and (size := finetune.train_batch_size) % launch.num_processes:
        raise ValueError(f"num_processes should divide finetune.train_batch_size, {size}")
    return launch


def _check_import(imported: "ImportParams", info: ValidationInfo) -> "ImportParams":
    finetune = info.data.get("finetune")
    method = finetune.method if finetune is not None else None
    if method == "import" and imported.path is None:
        raise ValueError("path should be a file, a folder or a hub name: finetune.method is import")
    if method == "import" and paths.FINETUNED in (path := Path(imported.path or ""), *path.parents):
        raise ValueError(f"path should not lie in {paths.FINETUNED}, which is written: copy it")
    if method == "textual_inversion" and imported.strength != 1:
        raise ValueError("strength should be 1: a new word changes nothing that could be scaled")
    return imported


def _check_place(root: str | None) -> str | None:
    for written in (paths.SAMPLES["baseline"].parent, paths.HANDED_IN_FOLDER):
        if root is not None and written in (path := Path(root), *path.parents):
            raise ValueError(f"should not lie in {written}, which is written: copy it")
    return root


def _check_sides(finetuned: str | None, info: ValidationInfo) -> str | None:
    baseline = info.data.get("baseline", finetuned)
    if (baseline is None) != (finetuned is None):
        raise ValueError(f"should be named if baseline is, which is {baseline or 'none'}")
    return finetuned


def _check_guide(sample: "SampleParams", info: ValidationInfo) -> "SampleParams":
    chosen = info.data.get("bases", {}).get(info.data.get("base"))
    if chosen is None or not sample.clip_guidance_scale or sample.guide_is_scorer:
        return sample
    if (chosen.guide, chosen.guide_pretrained) == (chosen.scorer, chosen.scorer_pretrained):
        raise ValueError(
            f"guide_is_scorer should be true: both are {chosen.guide}, which would judge where it "
            f"led; better name another CLIP in bases.{info.data['base']}.guide"
        )
    return sample


def _check_dino(score: "ScoreParams", info: ValidationInfo) -> "ScoreParams":
    finetune = info.data.get("finetune")
    if finetune is not None and finetune.data != "subject" and "dino" in score.extra_metrics:
        raise ValueError(
            "extra_metrics should hold no dino: it compares with the pictures of a subject, and "
            f"finetune.data is {finetune.data}"
        )
    return score


def _check_base(base: str, info: ValidationInfo) -> str:
    bases = info.data.get("bases", {base: None})
    if base not in bases:
        raise ValueError(f"should be a key of bases: {enumerate_keys(bases)}{suggest(base, bases)}")
    return base


Int = Annotated[int, BeforeValidator(_refuse_bool)]
Float = Annotated[float, BeforeValidator(_refuse_bool), Field(allow_inf_nan=False)]
Count = Annotated[Int, Field(ge=1)]
Seed = Annotated[Int, Field(ge=0, le=2**32 - 1)]
Fraction = Annotated[Float, Field(ge=0, le=1)]
Decay = Annotated[Float, Field(ge=0, lt=1)]
Text = Annotated[str, AfterValidator(_check_text)]
Phrase = Annotated[Text, AfterValidator(_check_phrase)]
Word = Annotated[Phrase, AfterValidator(_check_word)]
Template = Annotated[Phrase, AfterValidator(_check_template)]
Names = Annotated[tuple[Phrase, ...], Field(min_length=1), AfterValidator(_check_distinct)]
Templates = Annotated[tuple[Template, ...], Field(min_length=1), AfterValidator(_check_distinct)]
T = TypeVar("T")
Maybe = Annotated[T | None, _read_word("none")]
"""A value, or None for the word none."""
Auto = Annotated[T | None, _read_word("auto")]
"""A value, or None for the word auto."""
Root = Annotated[Maybe[Text], AfterValidator(_check_root)]
Place = Annotated[Maybe[Text], AfterValidator(_check_place)]
Column = Annotated[Maybe[Text], Field(validate_default=True), AfterValidator(_check_column)]

UnetMethod = Literal["attn2", "attn2_kv", "full", "lora", "hydra_lora"]
"""What trains weights of the U-Net, its own or added ones."""
Method = Literal[UnetMethod, "textual_inversion"]
"""What is trained here. Weights that others trained come by the method `import`."""
Protocol = Literal["broad", "paper"]
ExtraMetric = Literal[
    "laion_aesthetic", "musiq", "pickscore", "hpsv2", "image_reward", "vqa_score", "dino"
]

Question = Literal["fits_text", "looks_better"]


class Section(BaseModel):
    """A part of params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataParams(Section):
    """Where the pictures come from."""

    source: Literal["drawn", "cifar10", "parquet", "imagefolder"]
    root: Root
    image_column: Column = None
    label_column: Column = None
    caption_column: Column = None

    @property
    def path(self) -> Path:
        """The root of a source that reads files."""
        assert self.root is not None, f"source {self.source} has no root"
        return Path(self.root)


class UnetRates(Section):
    """The rate of each method that trains weights of the U-Net."""

    attn2: Fraction
    attn2_kv: Fraction
    full: Fraction
    lora: Fraction
    hydra_lora: Fraction


class SubjectRates(UnetRates):
    """Those, and that of the method for subjects alone."""

    textual_inversion: Fraction


class LearningRates(Section):
    """The rate at which each method trains a base well, on either kind of data."""

    pairs: UnetRates
    subject: SubjectRates


class BaseParams(Section):
    """A base model with its scorer, resolution, precision, learning rates and pictures."""

    model: Text
    revision: Maybe[Text]
    weights_variant: Maybe[Literal["fp16"]]
    scorer: Text
    scorer_pretrained: Maybe[Text]
    scorer_revision: Maybe[Text]
    guide: Text
    guide_pretrained: Maybe[Text]
    guide_revision: Maybe[Text]
    resolution_px: Annotated[Count, Field(multiple_of=8, le=2048)]
    precision: Literal["fp32", "bf16", "fp16"]
    learning_rates: LearningRates
    data: DataParams


class PrepareParams(Section):
    """Which pairs are made."""

    num_pairs: Count
    num_validation_pairs: Count
    seed: Seed
    classes: Names
    caption_templates: Templates


class MarketingPrompt(Section):
    """A prompt outside the domain that is trained on."""

    class_name: Phrase = Field(alias="class")
    prompt: Phrase


MarketingPrompts = Annotated[tuple[MarketingPrompt, ...], AfterValidator(_check_prompts)]


class PromptsParams(Section):
    """What is sampled: the paper's prompts, and by the broad protocol what is added to them."""

    protocol: Protocol
    class_templates: Templates
    added_class_templates: Annotated[tuple[Template, ...], AfterValidator(_check_distinct)]
    marketing: Annotated[MarketingPrompts, Field(min_length=1)]
    added_marketing: MarketingPrompts
    subject_templates: Templates
    file: Text


class SubjectParams(Section):
    """What is learned from a few pictures, where `finetune.data` is subject."""

    source: Literal["drawn", "imagefolder"]
    root: Root
    num_pictures: Annotated[Count, Field(le=100)]
    num_held_out_pictures: Annotated[Count, Field(le=100)]
    seed: Seed
    class_name: Text
    placeholder: Word
    initializer: Word
    identifier: Word
    caption_templates: Templates
    prior_loss_weight: Annotated[Float, Field(ge=0)]
    num_prior_pictures: Count


class LoraParams(Section):
    """The adapters of methods lora and hydra_lora."""

    rank: Annotated[Count, Field(le=1024)]
    alpha: Annotated[Float, Field(gt=0)]
    targets: Names
    use_dora: bool


class HydraLoraParams(Section):
    """What the adapters of method hydra_lora have beyond lora's."""

    num_experts: Annotated[Count, Field(le=64)]


class TextualInversionParams(Section):
    """The new word of method textual_inversion."""

    num_vectors: Annotated[Count, Field(le=16)]


class FinetuneParams(Section):
    """What is trained, on what, and how."""

    method: Literal[Method, "import"]
    data: Annotated[Literal["pairs", "subject"], AfterValidator(_check_data)]
    learning_rate: Auto[Fraction]
    lora: Annotated[LoraParams, AfterValidator(_check_lora)]
    hydra_lora: HydraLoraParams
    textual_inversion: TextualInversionParams
    lr_scheduler: Literal["cosine", "linear", "constant"]
    max_train_steps: Annotated[Int, Field(ge=0)]
    lr_warmup_steps: Annotated[Int, Field(ge=0), AfterValidator(_check_warmup)]
    train_batch_size: Count
    gradient_accumulation_steps: Count
    gradient_checkpointing: bool
    optimizer: Literal["adamw", "adamw_8bit"]
    adam_beta1: Decay
    adam_beta2: Decay
    adam_weight_decay: Fraction
    adam_epsilon: Annotated[Float, Field(gt=0, le=1)]
    max_grad_norm: Annotated[Float, Field(gt=0)]
    snr_gamma: Maybe[Annotated[Float, Field(gt=0)]]
    noise_offset: Fraction
    caption_dropout_rate: Fraction
    ema_decay: Maybe[Decay]
    validation_steps: Count
    checkpoint_steps: Count
    seed: Seed

    @property
    def learns_subject(self) -> bool:
        """Whether the pictures of `subject` are trained on, instead of the pairs."""
        return self.data == "subject"


class ImportParams(Section):
    """Weights that others trained, for method import; how much of any is applied."""

    path: Maybe[Text]
    revision: Maybe[Text]
    strength: Annotated[Float, Field(ge=-10, le=10)]


class PicturesParams(Section):
    """Pictures of both sides that another program made: a folder or parquet each, or none."""

    baseline: Place
    finetuned: Annotated[Place, AfterValidator(_check_sides)]

    @property
    def named(self) -> dict[str, Path]:
        """Where each variant's pictures are; empty where pictures are sampled."""
        if self.baseline is None or self.finetuned is None:
            return {}
        return {"baseline": Path(self.baseline), "finetuned": Path(self.finetuned)}


class DenoiseParams(Section):
    """How noise becomes pictures."""

    scheduler: Literal["ddim", "ddpm", "dpm_solver_pp", "euler"]
    num_inference_steps: Annotated[Count, Field(le=1000)]
    guidance_scale: Annotated[Float, Field(ge=1, le=100)]
    negative_prompt: Annotated[Maybe[Phrase], AfterValidator(_check_negative)]
    batch_size: Count
    seed: Seed


class SampleParams(DenoiseParams):
    """Which pictures are sampled, for both variants alike."""

    clip_guidance_scale: Annotated[Float, Field(ge=0, le=10_000)]
    guide_is_scorer: bool
    images_per_in_domain_prompt: Auto[Count]
    images_per_marketing_prompt: Auto[Count]
    images_per_subject_prompt: Count


class ScoreParams(Section):
    """How pictures are scored."""

    zero_shot_template: Template
    batch_size: Count
    black_brightness: Fraction
    flat_contrast: Fraction
    extra_metrics: Annotated[tuple[ExtraMetric, ...], AfterValidator(_check_distinct)]


class CompareParams(Section):
    """How the two variants are compared."""

    confidence_level: Annotated[Float, Field(gt=0, lt=1)]
    num_resamples: Annotated[Int, Field(ge=100, le=1_000_000)]
    smallest_relevant_difference: Annotated[Float, Field(ge=0, le=2)]
    seed: Seed


class ReportParams(Section):
    """What the report shows."""

    grid_images_per_prompt: Count
    max_pictures: Count


class StudyParams(Section):
    """What people are asked about pictures, without knowing whose they are."""

    num_pairs: Annotated[Count, Field(le=500)]
    questions: Annotated[tuple[Question, ...], Field(min_length=1), AfterValidator(_check_distinct)]
    consent: Annotated[tuple[Phrase, ...], Field(min_length=1)]
    seed: Seed


class LaunchParams(Section):
    """In how many processes stages run: no hyperparameter, the results are the same."""

    num_processes: Count
    num_machines: Annotated[Count, AfterValidator(_check_machines)]
    main_process_port: Auto[Annotated[Int, Field(ge=1024, le=65535)]]
    config_file: Annotated[Maybe[Text], AfterValidator(_check_config_file)]

    @property
    def is_alone(self) -> bool:
        """Whether a stage is one process, for which nothing has to be launched."""
        return self.num_processes == 1


class Params(Section):
    """All of params.yaml."""

    bases: dict[str, BaseParams]
    base: Annotated[str, AfterValidator(_check_base)]
    prepare: PrepareParams
    prompts: PromptsParams
    subject: SubjectParams
    finetune: FinetuneParams
    imported: Annotated[ImportParams, Field(alias="import"), AfterValidator(_check_import)]
    pictures: PicturesParams
    sample: Annotated[SampleParams, AfterValidator(_check_guide)]
    score: Annotated[ScoreParams, AfterValidator(_check_dino)]
    compare: CompareParams
    report: ReportParams
    study: StudyParams
    launch: Annotated[LaunchParams, AfterValidator(_check_parts)]

    @property
    def chosen(self) -> BaseParams:
        """The base that `base` names."""
        return self.bases[self.base]


def load_params() -> Params:
    """Read and check params.yaml of the current folder.

    Raises:
        UserError: The current folder holds no params.yaml.
        UserError: A line for each mistake: the key, what was found, what is allowed.
    """
    if not PARAMS.exists():
        raise UserError(f"no {PARAMS} in {Path.cwd()}; run from the project's root")
    text = PARAMS.read_bytes()
    refuse_conflict(text.decode(errors="replace"), PARAMS)
    return parse_params(text)


@lru_cache  # a stage, its launcher and what they call ask for it; to parse it takes 30 ms
def parse_params(text: str | bytes) -> Params:
    """Check the text of a params.yaml, UTF-8 where it is bytes; see `load_params`."""
    return check_params(_parse_yaml(text))


def check_params(values: object) -> Params:
    """Check what a params.yaml holds; see `load_params`."""
    if not isinstance(values, dict):
        raise UserError(f"{PARAMS}: found {show(values)}; should be sections of keys and values")
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise UserError(
            "\n".join(f"{PARAMS}: {line}" for line in explain(Params, error.errors()))
        ) from None


def _parse_yaml(text: str | bytes) -> object:
    try:
        return YAML(typ="safe", pure=True).load(text)  # 1.2: 5e-06 is a number
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise UserError(
            f"{PARAMS}, line {line}: {show_line(error.problem or 'not YAML')}"
        ) from None
    except RecursionError:
        raise UserError(f"{PARAMS}: nested too deeply") from None
    except (YAMLError, ValueError, TypeError, AttributeError, LookupError) as error:
        # What is tagged or looks like a date, a number or a key, but is none, reaches us raw.
        raise UserError(f"{PARAMS}: not YAML ({show_line(str(error))})") from None
