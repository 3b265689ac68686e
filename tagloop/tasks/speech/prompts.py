"""What Whisper is shown before a transcript: language and task, alike in labels and generation."""

from torch import nn
from transformers import (
    AutoFeatureExtractor,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    WhisperFeatureExtractor,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from tagloop.errors import InputError
from tagloop.models.pretrained import load_pretrained
from tagloop.options.config import Config

TASKS = ("transcribe", "translate")


def load_extractor(config: Config) -> WhisperFeatureExtractor:
    """The feature extractor of a run; the model of the sample hears one second.

    Raises:
        InputError: there is none, it is not Whisper's, or it adds random noise.
    """
    if config.uses_sample_model:
        return WhisperFeatureExtractor(feature_size=40, chunk_length=1)
    name = config.feature_extractor_name or config.model_name_or_path
    name = name or config.config_name or config.tokenizer_name
    extractor = load_pretrained(AutoFeatureExtractor, name, token=config.hub_token)
    if not isinstance(extractor, WhisperFeatureExtractor):
        raise InputError(
            f"{name}: hears with a {type(extractor).__name__}; --task_name {config.task_name} "
            "trains models that hear as Whisper does"
        )
    if extractor.dither:
        raise InputError(
            f"{name}: its preprocessor_config.json adds noise at random (dither "
            f"{extractor.dither}); set dither to 0"
        )
    return extractor


def check_extractor(name: str, extractor: WhisperFeatureExtractor, model: PreTrainedConfig) -> None:
    """Refuse a feature extractor that does not fit to the configuration of a model.

    Args:
        name: what messages call the model.

    Raises:
        InputError: numbers of mels or of frames differ.
    """
    mels, context = getattr(model, "num_mel_bins", None), getattr(model, "max_source_positions", 0)
    if mels != extractor.feature_size or 2 * context != extractor.nb_max_frames:
        raise InputError(
            f"{name}: the model hears {mels} mels in {2 * context} frames, and the feature "
            f"extractor makes {extractor.feature_size} mels in {extractor.nb_max_frames} frames; "
            "name the extractor of this model with --feature_extractor_name"
        )


def set_prompt(config: Config, tokenizer: PreTrainedTokenizerFast) -> None:
    """Let the tokenizer put language and task before a transcript. It changes in place.

    A model of one language has neither; of several languages it needs both.

    Raises:
        InputError: the language is missing, or is not known, or the model knows one only.
    """
    if not hasattr(tokenizer, "set_prefix_tokens"):
        if config.language:
            raise InputError(
                f"--language {config.language}: the tokenizer is a {type(tokenizer).__name__}, "
                "which has no tokens of languages; leave the option out"
            )
        return
    language = config.language or tokenizer.language
    several = knows_several(config)
    if several is None:
        several = language is not None
    if not several:
        if config.language:
            raise InputError(
                f"--language {config.language}: {config.names_of_model} knows one language only; "
                "leave the option out"
            )
        tokenizer.language = tokenizer.task = None
        tokenizer.set_prefix_tokens(predict_timestamps=False)
        return
    if language is None:
        raise InputError(
            f"{config.names_of_model} knows several languages; give the --language of the "
            "transcripts, e.g. english"
        )
    code = TO_LANGUAGE_CODE.get(language.lower(), language.lower())
    if code not in LANGUAGES or f"<|{code}|>" not in tokenizer.get_vocab():
        raise InputError(f"--language {language}: not known to the tokenizer; e.g. en or english")
    tokenizer.set_prefix_tokens(
        language=language, task=config.whisper_task, predict_timestamps=False
    )


def knows_several(config: Config) -> bool | None:
    """True if the generation_config of the model says that it knows several languages.

    None: it does not say so, or there is none.
    """
    if config.model_name_or_path is None:
        return None
    try:
        settings = load_pretrained(
            GenerationConfig, config.model_name_or_path, token=config.hub_token
        )
    except InputError:
        return None
    return getattr(settings, "is_multilingual", None)


def prompt_length(tokenizer: PreTrainedTokenizerFast) -> int:
    """The sub-tokens that the decoder is shown before it writes, the start included."""
    return len(getattr(tokenizer, "prefix_tokens", [None]))


def require_room(config: Config, tokenizer: PreTrainedTokenizerFast) -> None:
    """Raise InputError if --generation_max_length has no room behind the prompt."""
    longest, prompt = config.generation_max_length, prompt_length(tokenizer)
    if longest is not None and longest <= prompt:
        raise InputError(
            f"--generation_max_length {longest}: the prompt of a transcript has {prompt} "
            "sub-tokens already; give more"
        )


def settle_prompt(model: nn.Module, tokenizer: PreTrainedTokenizerFast) -> None:
    """Let the model generate behind the prompt of the tokenizer. It changes in place.

    Settings of other languages and of older versions are removed, because they would win at times.
    """
    settings, known = model.generation_config, tokenizer.get_vocab()
    settings.forced_decoder_ids = None
    if getattr(model.config, "forced_decoder_ids", None) is not None:
        model.config.forced_decoder_ids = None
    if hasattr(tokenizer, "set_prefix_tokens"):
        for name in ("language", "task", "lang_to_id", "task_to_id"):
            vars(settings).pop(name, None)
        settings.no_timestamps_token_id = known["<|notimestamps|>"]
        settings.is_multilingual = tokenizer.language is not None
    if getattr(tokenizer, "language", None) is not None:
        codes = {f"<|{code}|>" for code in LANGUAGES} & known.keys()
        settings.language, settings.task = tokenizer.language, tokenizer.task
        settings.lang_to_id = {code: known[code] for code in sorted(codes)}
        settings.task_to_id = {task: known[f"<|{task}|>"] for task in TASKS}


def suppressed_ids(model: nn.Module) -> list[int]:
    """The ids that the model never writes, whatever it hears."""
    return list(getattr(model.generation_config, "suppress_tokens", None) or ())
