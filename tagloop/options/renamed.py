"""Options of run_ner.py and run_flax_ner.py that are not kept, and what to do instead.

docs/migrating.md shows the same lines; an unknown option of the command line is answered by them.
"""

_LAUNCH = "the launch file decides: --config_file accelerate_configs/"
_OPTIMIZER = "is one line of build() in train_loop.py, see docs/editing.md"
_CHECKPOINTS = "here --checkpointing_steps N, or epoch"
_EVALUATIONS = "here --eval_steps N; without it, after every epoch"
_PRECISION = "here --mixed_precision, or the launch file's"

RENAMED = {
    "save_steps": _CHECKPOINTS,
    "save_strategy": _CHECKPOINTS,
    "save_total_limit": "here --checkpoints_total_limit",
    "eval_strategy": _EVALUATIONS,
    "evaluation_strategy": _EVALUATIONS,
    "logging_strategy": "here --logging_steps",
    "logging_dir": "not needed: logs lie in --output_dir",
    "bf16": _PRECISION,
    "fp16": _PRECISION,
    "warmup_ratio": "here --num_warmup_steps, below 1 a share of the run",
    "activation_checkpointing": "here --gradient_checkpointing",
    "train_sampling_strategy": "here --group_by_length, but rows are packed by default",
    "data_seed": "here --seed",
    "use_auth_token": "here --hub_token, better HF_TOKEN in the environment",
    "optim": _OPTIMIZER,
    "adafactor": _OPTIMIZER,
    "adam_beta1": _OPTIMIZER,
    "adam_beta2": _OPTIMIZER,
    "adam_epsilon": _OPTIMIZER,
    "label_smoothing_factor": "is one argument in losses() of the task, see docs/editing.md",
    "use_cpu": f"{_LAUNCH}cpu.yaml",
    "no_cuda": f"{_LAUNCH}cpu.yaml",
    "fsdp": f"{_LAUNCH}fsdp2.yaml",
    "deepspeed": f"{_LAUNCH}fsdp2.yaml shards, too",
    "torch_compile": "here an option of accelerate launch, --dynamo_backend inductor",
    "local_rank": "not needed: accelerate launch says it",
    "model_revision": "download it (hf download NAME --revision R --local-dir DIR) and name DIR",
    "cache_dir": "is HF_HOME for downloads, TAGLOOP_CACHE for prepared data",
    "overwrite_cache": "not needed: prepared data is found by its content",
    "greater_is_better": "not needed: a loss counts downwards, all else upwards",
    "ddp_find_unused_parameters": "not needed: a dry pass finds them",
    "eval_accumulation_steps": "not needed: evaluation keeps 2 bytes a word",
    "average_tokens_across_devices": "not needed: it is always so",
    "dataloader_drop_last": "not needed: a short last batch counts its own labels",
    "disable_tqdm": "not needed: quiet where there is no terminal",
}
