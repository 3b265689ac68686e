"""What other trainers call their options, and what to type here instead.

RENAMED holds options of run_ner.py and run_flax_ner.py; docs/migrating.md shows the same lines.
ELSEWHERE holds the names of other trainers and of people's own scripts. Both are asked before names
are completed or compared, so `--lr` is answered by --learning_rate, not by --lr_scheduler_type.
"""

# Flags of transformers' scripts that are taken, with any value, and change nothing: a task reads
# only the columns that it needs, and scores beside the loss cost nothing.
WITHOUT_EFFECT = ("--prediction_loss_only", "--remove_unused_columns")

_LAUNCH = "the launch file decides: --config_file accelerate_configs/"
_OPTIMIZER = "here --optimizer, a class by its import path"
_BETAS = "is an argument of a class of your own, --optimizer my_optimizers:Mine, see docs/tuning.md"
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
    "adafactor": _OPTIMIZER,
    "adam_beta1": _BETAS,
    "adam_beta2": _BETAS,
    "adam_epsilon": _BETAS,
    "no_cuda": f"here --use_cpu, or {_LAUNCH}cpu.yaml",
    "fsdp": f"{_LAUNCH}fsdp2.yaml",
    "deepspeed": f"{_LAUNCH}fsdp2.yaml shards, too",
    "torch_compile": "here an option of accelerate launch, --dynamo_backend inductor",
    "local_rank": "not needed: accelerate launch says it",
    "model_revision": "download it (hf download NAME --revision R --local-dir DIR) and name DIR",
    "cache_dir": "is HF_HOME for downloads, TAGLOOP_CACHE for prepared data",
    "overwrite_cache": "not needed: prepared data is found by its content",
    "greater_is_better": "not needed: every task knows it of its scores",
    "ddp_find_unused_parameters": "not needed: a dry pass finds them",
    "eval_accumulation_steps": "not needed: evaluation keeps a few bytes for a word",
    "average_tokens_across_devices": "not needed: it is always so",
    "dataloader_drop_last": "not needed: a short last batch counts its own labels",
    "disable_tqdm": "not needed: quiet where there is no terminal",
}

_GPUS = f"{_LAUNCH}single_gpu.yaml, or multi_gpu.yaml; --num_processes stands before the script"
_MACHINES = f"{_LAUNCH}multi_node.yaml"
_BEST = "here --load_best_model_at_end, with --metric_for_best_model"
_ARCHITECTURE = "is in the model's config.json: name that model with --model_name_or_path"

# Answer -> the names of other trainers that it answers, with blanks between them.
_ANSWERS = {
    "here --num_train_epochs": (
        "epoch epochs max_epoch max_epochs min_epochs n_epochs nepochs num_epoch num_epochs "
        "num_training_epochs train_epochs training_epochs"
    ),
    "here --max_train_steps": (
        "iterations max_iter max_iterations max_iters max_update max_updates num_iterations "
        "num_steps num_train_steps num_training_steps steps total_num_update total_steps "
        "train_steps"
    ),
    "here --learning_rate": (
        "base_lr bert_lr encoder_lr init_lr initial_lr learningrate lr lrate max_lr peak_lr rate"
    ),
    "here --lr_scheduler_type": (
        "learning_rate_scheduler lr_decay lr_schedule lr_scheduler lr_scheduler_name schedule "
        "scheduler"
    ),
    "here --num_warmup_steps, below 1 a share of the run": (
        "num_warmup warmup_epochs warmup_fraction warmup_iters warmup_percent warmup_proportion "
        "warmup_rate warmup_updates"
    ),
    "here --weight_decay": ("adam_weight_decay decay l2 wd weightdecay"),
    "here --max_grad_norm": (
        "clip clip_grad clip_grad_norm clip_gradients clip_norm grad_clip grad_norm gradient_clip "
        "gradient_clip_val gradient_clipping max_norm"
    ),
    "here --per_device_train_batch_size; an update takes that many examples, times the "
    "processes, times --gradient_accumulation_steps": (
        "batch batch_size batch_size_train batchsize bs bsz max_sentences max_tokens "
        "micro_batch_size mini_batch_chunk_size mini_batch_size per_gpu_batch_size "
        "per_gpu_train_batch_size train_batch_size train_batchsize train_micro_batch_size_per_gpu "
        "training_batch_size"
    ),
    "here --per_device_eval_batch_size": (
        "batch_size_eval dev_batch_size eval_batch_size eval_batchsize evaluation_batch_size "
        "inference_batch_size per_gpu_eval_batch_size predict_batch_size test_batch_size "
        "val_batch_size valid_batch_size"
    ),
    "here --gradient_accumulation_steps": (
        "accum_iter accum_steps accumulate_grad_batches accumulate_gradient accumulation_steps "
        "grad_acc grad_accum grad_accumulation grad_accumulation_steps gradient_accumulation "
        "update_freq"
    ),
    "here --auto_micro_batch": ("auto_batch_size auto_find_batch_size auto_scale_batch_size"),
    "here --max_length": (
        "max_input_length max_len max_positions max_seq_len max_sequence_length "
        "max_source_positions max_tokens_per_sentence maxlen model_max_length "
        "seq_len seq_length sequence_length tokens_per_sample"
    ),
    "here --stride": ("overlap window_stride"),
    "here --context_tokens (sub-tokens)": ("context_length document_context use_context"),
    "here --dataloader_num_workers": (
        "data_workers dataloader_workers loader_workers n_workers num_workers workers"
    ),
    "here --preprocessing_num_workers": ("n_proc num_proc preprocessing_workers"),
    "here --mixed_precision no, bf16 or fp16; else the launch file's": (
        "amp bf16_full_eval bfloat16 dtype float16 fp16_full_eval fp16_opt_level half "
        "half_precision_backend mixed_precision_training precision tf32 torch_dtype use_amp "
        "use_fp16"
    ),
    f"{_LAUNCH}cpu.yaml, single_gpu.yaml or multi_gpu.yaml": (
        "accelerator backend cpu data_parallel ddp ddp_backend device devices distributed "
        "distributed_backend multi_gpu no_gpu strategy use_mps_device"
    ),
    _GPUS: (
        "cuda cuda_device distributed_world_size gpu gpu_device gpu_id gpu_ids gpu_num gpus n_gpu "
        "n_gpus ngpus nproc nproc_per_node num_gpus num_processes tpu_num_cores use_cuda use_gpu "
        "world_size"
    ),
    _MACHINES: (
        "dist_url machine_rank main_process_ip main_process_port master_addr master_port nnodes "
        "node_rank num_machines num_nodes rank"
    ),
    "stands behind accelerate launch, before train_loop.py or -m tagloop train": (
        "config_file dynamo_backend"
    ),
    "here --model_name_or_path": (
        "backbone base_model bert bert_model checkpoint checkpoint_path ckpt ckpt_path embeddings "
        "encoder encoder_name init_checkpoint load load_from load_model model model_dir "
        "model_folder model_name model_path modelname plm plm_name pretrained pretrained_model "
        "pretrained_model_name pretrained_model_name_or_path pretrained_model_path restore_file "
        "transformer transformer_model weights"
    ),
    "here --model_type, a name such as bert; or --model_name_or_path": (
        "arch architecture model_arch model_class"
    ),
    "here --tokenizer_name": (
        "bert_tokenizer tokenizer_dir tokenizer_name_or_path tokenizer_path vocab vocab_file"
    ),
    "here --dataset_name NAME for the hub, or --train_file FILE": (
        "base_path corpus data data_dir data_file data_files data_folder data_name data_path "
        "data_root data_set dataset dataset_dir dataset_id dataset_path datasets input input_data "
        "input_dir input_file paths"
    ),
    "here --train_file": (
        "paths.train train_data train_data_file train_dataset train_dir train_filename train_path "
        "train_set train_subset trainfile training_data training_file"
    ),
    "here --validation_file": (
        "dev dev_data dev_file dev_path dev_set devel_file devfile eval_data eval_data_file "
        "eval_dataset eval_file eval_path eval_set paths.dev val val_data val_file val_path "
        "val_set valid valid_data valid_file valid_path valid_set valid_subset validation "
        "validation_data validation_path"
    ),
    "not needed: the script never read it": ("train_ref_file validation_ref_file"),
    "here --test_file": ("test_data test_data_file test_dataset test_path test_set testfile"),
    "here --predict_file; tagloop predict, or predict.py, tags running text": (
        "infer_file inference_file predict_data predict_input predict_path prediction_file "
        "unlabeled_file unlabelled_file"
    ),
    "here --validation_fraction": (
        "dev_ratio dev_size dev_split eval_ratio split split_ratio test_size val_fraction "
        "val_ratio val_size val_split valid_size validation_ratio validation_size "
        "validation_split"
    ),
    "here --text_column_name": (
        "input_column sentence_column text_col text_field text_key token_column tokens_column "
        "word_column words_column"
    ),
    "here --label_column_name": (
        "label_col label_field label_key label_names ner_column tag_column tags_column "
        "target_column"
    ),
    "here --text_pair_column_name": ("pair_column text_b text_pair"),
    "here --labels_file": (
        "class_names classes id2label label2id label_file label_list label_map label_names_file "
        "label_path labels labels_path tag_file"
    ),
    "here --label_scheme": (
        "bio_scheme encoding_scheme label_format scheme tag_format tag_scheme tagging_format "
        "tagging_scheme"
    ),
    "here --task_name": ("ner_task problem_type tag_type task_type"),
    "here --output_dir": (
        "checkpoint_dir checkpoint_folder ckpt_dir default_root_dir exp_dir exp_name "
        "experiment_dir experiment_name log_dir logdir model_output_dir out out_dir out_path "
        "outdir output_file output_folder output_path result_dir results_dir run_dir run_name "
        "save_dir save_folder save_path save_to savedir tensorboard_logdir work_dir"
    ),
    "here --overwrite_output_dir": ("exist_ok force overwrite"),
    "here --resume_from_checkpoint auto, with the --output_dir of the run": (
        "continue continue_from continue_training last_checkpoint load_checkpoint resume "
        "resume_from resume_from_checkpoint_path resume_path resume_run resume_training"
    ),
    "here --checkpointing_steps N, or epoch": (
        "checkpoint_every checkpoint_interval checkpoint_steps checkpointing_interval "
        "enable_checkpointing save_checkpoint save_checkpoints save_each_epoch save_every "
        "save_every_n_steps save_freq save_frequency save_interval save_interval_updates "
        "save_model_every_epoch"
    ),
    "here --checkpoints_total_limit": (
        "keep_checkpoints keep_interval_updates keep_last_epochs keep_last_n max_checkpoints "
        "no_epoch_checkpoints save_limit save_top_k"
    ),
    "here --eval_steps N; without it, after every epoch": (
        "check_val_every_n_epoch do_eval_during_training eval_every eval_every_n_steps eval_freq "
        "eval_frequency eval_interval eval_per_epoch eval_step evaluate_during_training "
        "evaluate_every evaluation_steps val_check_interval val_interval validate_every "
        "validate_interval validate_interval_updates validation_steps"
    ),
    "here --logging_steps": (
        "log_every log_every_n_steps log_freq log_interval log_step log_steps logging_first_step "
        "logging_interval logging_step print_every print_freq report_every"
    ),
    "here --early_stopping_patience N evaluations": (
        "early_stop early_stopping early_stopping_rounds early_stopping_steps earlystop "
        "es_patience patience stop_patience"
    ),
    _BEST: (
        "best_checkpoint best_model keep_best load_best load_best_model save_best save_best_model "
        "save_best_only use_best_model use_final_model_for_eval"
    ),
    "here --metric_for_best_model": (
        "best_checkpoint_metric best_metric early_stopping_metric eval_metric "
        "main_evaluation_metric main_metric metric metrics monitor"
    ),
    "here --seed": (
        "deterministic full_determinism manual_seed rand_seed random_seed random_state rng_seed "
        "seed_everything"
    ),
    "here --do_train": ("is_train is_training train_model training"),
    "here --do_eval": (
        "do_dev do_evaluate do_valid do_validation eval eval_only evaluate evaluate_only "
        "evaluation is_eval run_eval validate"
    ),
    "here --do_predict": (
        "do_infer do_inference do_pred do_prediction do_predictions do_test infer inference "
        "predict_only prediction run_test test_only"
    ),
    "here --debug": ("dry_run fast_dev_run overfit_batches sanity_check smoke_test test_run"),
    "here --max_train_samples": (
        "limit_train_batches max_samples max_train_examples num_examples num_samples "
        "num_train_samples sample_size subset train_size"
    ),
    "here --max_eval_samples": (
        "limit_test_batches limit_val_batches max_eval_examples max_val_samples "
        "max_validation_samples"
    ),
    "here --report_to": (
        "comet log_with logger loggers mlflow tensorboard tracker tracking use_mlflow "
        "use_tensorboard use_wandb wandb wandb_project"
    ),
    "here --push_to_hub": ("hub push upload upload_to_hub"),
    "here --hub_model_id": (
        "hub_model_name hub_name hub_repo hub_repo_id push_to_hub_model_id "
        "push_to_hub_organization repo_id"
    ),
    "here --hub_token, better HF_TOKEN in the environment": (
        "access_token api_key auth_token hf_token push_to_hub_token"
    ),
    "here --gradient_checkpointing": (
        "activation_checkpoint checkpoint_activations grad_checkpointing gradient_checkpoint"
    ),
    "here --no_group_by_length, or --no_packing": (
        "bucket bucketing no_shuffle shuffle sortish_sampler"
    ),
    "not needed: the fast tokenizer is always taken": ("use_fast_tokenizer use_slow_tokenizer"),
    "not needed: prepared data is memory-mapped, whatever its size": ("streaming"),
    "not needed: the weights are read once, on the CPU": ("low_cpu_mem_usage"),
    "here --ignore_mismatched_sizes": ("ignore_mismatch new_head reinit_head reset_head"),
    "here --dataset_config_name": (
        "config_name_dataset data_config dataset_config lang subset_name"
    ),
    "not needed: every word keeps its case as the model's tokenizer has it": (
        "cased do_lowercase lower_case lowercase uncased"
    ),
    "here --class_weights, balanced or a file": "class_weight use_class_weights",
    "here --focal_gamma": "focal_loss focal_loss_gamma use_focal_loss",
    "here --label_smoothing_factor": "label_smoothing label_smoothing_epsilon smoothing",
    "not there: the matrices of --lora_rank have no dropout of their own": "lora_dropout",
    "here --decoding legal": "constrained_decoding constrain_transitions viterbi viterbi_decoding",
    "here --label_smoothing_factor, --class_weights, --focal_gamma; else see docs/editing.md": (
        "criterion loss loss_function loss_type"
    ),
    _OPTIMIZER: "optimizer_name optimizer_type sgd use_adafactor",
    _BETAS: "adam_beta adam_betas adam_eps beta1 beta2 betas eps epsilon momentum optim_args",
    "here --lora_rank": "lora lora_r peft use_lora use_peft",
    "here --ema_decay": "ema use_ema swa polyak",
    "is a worked edit of the loop, see docs/editing.md": "crf crf_lr use_crf",
    "here --layerwise_lr_decay": "layer_decay llrd",
    "here --head_learning_rate": "classifier_lr head_lr lr_head",
    "here --freeze_layers N, or --freeze_embeddings": "freeze freeze_bert freeze_base",
    "is for other models; Whisper has --freeze_encoder": "freeze_feature_encoder",
    "is not there, as its masks would depend on how a batch is cut; see docs/tasks.md": (
        "apply_spec_augment"
    ),
    "not needed: the split test is scored; for another one --test_file": ("test_split_name"),
    "not needed: the first process prepares the data, and the others wait": "preprocessing_only",
    "is for tokenizers that must be told the language, which are not there; see docs/tasks.md": (
        "forced_bos_token source_lang target_lang"
    ),
    "is in the model's generation_config.json; --language and --whisper_task set the prompt": (
        "forced_decoder_ids suppress_tokens"
    ),
    _ARCHITECTURE: (
        "attention_dropout dropout_prob dropout_rate embedding_dim hidden_dim hidden_dropout_prob "
        "hidden_size n_layers num_heads num_layers rnn_layers use_rnn"
    ),
    "not needed: the header and a progress bar say what goes on": (
        "enable_progress_bar log_level no_progress_bar progress progress_bar quiet silent verbose "
        "verbosity"
    ),
    "python -m torch.utils.bottleneck is not needed: here --profile": ("profiler profiling"),
    "here --folds, the number of parts": (
        "cross_validation cv fold_count k_folds kfold n_folds n_splits num_folds"
    ),
    "here --seeds 1,2,3": "n_seeds num_runs num_seeds random_seeds",
    "here --train_on_validation": "train_on_dev train_with_dev use_dev_for_training",
}
ELSEWHERE = {name: answer for answer, names in _ANSWERS.items() for name in names.split()}
