import test from 'ava'
import { camelCase } from '../../lib/config/case.js'
import { explainArgument } from '../../lib/config/foreign-arguments.js'
import { trainingArguments } from '../../lib/config/training-arguments.js'

/** The fields of transformers 4.57.6's ResolvedTrainingArguments: dataclasses.fields, in their order. */
const huggingFace = `output_dir overwrite_output_dir do_train do_eval do_predict eval_strategy prediction_loss_only
  per_device_train_batch_size per_device_eval_batch_size per_gpu_train_batch_size per_gpu_eval_batch_size
  gradient_accumulation_steps eval_accumulation_steps eval_delay torch_empty_cache_steps learning_rate weight_decay
  adam_beta1 adam_beta2 adam_epsilon max_grad_norm num_train_epochs max_steps lr_scheduler_type lr_scheduler_kwargs
  warmup_ratio warmup_steps log_level log_level_replica log_on_each_node logging_dir logging_strategy logging_first_step
  logging_steps logging_nan_inf_filter save_strategy save_steps save_total_limit save_safetensors save_on_each_node
  save_only_model restore_callback_states_from_checkpoint no_cuda use_cpu use_mps_device seed data_seed jit_mode_eval
  bf16 fp16 fp16_opt_level half_precision_backend bf16_full_eval fp16_full_eval tf32 local_rank ddp_backend
  tpu_num_cores tpu_metrics_debug debug dataloader_drop_last eval_steps dataloader_num_workers
  dataloader_prefetch_factor past_index run_name disable_tqdm remove_unused_columns label_names
  load_best_model_at_end metric_for_best_model greater_is_better ignore_data_skip fsdp fsdp_min_num_params fsdp_config
  fsdp_transformer_layer_cls_to_wrap accelerator_config parallelism_config deepspeed label_smoothing_factor optim
  optim_args adafactor group_by_length length_column_name report_to project trackio_space_id
  ddp_find_unused_parameters ddp_bucket_cap_mb ddp_broadcast_buffers dataloader_pin_memory
  dataloader_persistent_workers skip_memory_metrics use_legacy_prediction_loop push_to_hub resume_from_checkpoint
  hub_model_id hub_strategy hub_token hub_private_repo hub_always_push hub_revision gradient_checkpointing
  gradient_checkpointing_kwargs include_inputs_for_metrics include_for_metrics eval_do_concat_batches fp16_backend
  push_to_hub_model_id push_to_hub_organization push_to_hub_token _n_gpu mp_parameters auto_find_batch_size
  full_determinism torchdynamo ray_scope ddp_timeout torch_compile torch_compile_backend torch_compile_mode
  include_tokens_per_second include_num_input_tokens_seen neftune_noise_alpha optim_target_modules batch_eval_metrics
  eval_on_start use_liger_kernel liger_kernel_config eval_use_gather_object average_tokens_across_devices`
  .trim()
  .split(/\s+/)

const known = trainingArguments()
const messageOf = (name: string): string => {
  try {
    trainingArguments({ [name]: true } as never)
    return ''
  } catch (error) {
    return (error as Error).message
  }
}

test("every field of Hugging Face's TrainingArguments is here, or has a sentence of its own", (t) => {
  t.is(huggingFace.length, 133)
  for (const name of huggingFace) {
    const own = camelCase(name)
    if (Object.hasOwn(known, own)) {
      t.is(explainArgument(own), undefined, name)
      // In Python's spelling it is an error that names ours.
      if (own !== name) t.true(messageOf(name).includes(`Did you mean '${own}'?`), messageOf(name))
      continue
    }
    for (const spelling of [name, own]) {
      const message = messageOf(spelling)
      t.regex(message, new RegExp(`'${spelling}' (is called '\\w+' here|is no argument here: .{12,})`))
      t.false(message.includes('Known:'), message)
    }
  }
})

test('what people call arguments elsewhere leads to ours', (t) => {
  for (const [name, own] of [
    ['lr', 'learningRate'],
    ['epochs', 'numTrainEpochs'],
    ['batch_size', 'perDeviceTrainBatchSize'],
    ['evaluation_strategy', 'evalStrategy'],
    ['patience', 'earlyStoppingPatience'],
    ['grad_clip', 'maxGradNorm'],
    ['gradAccumSteps', 'gradientAccumulationSteps'],
    ['tokenBudget', 'maxTokensPerBatch']
  ] as const) {
    t.is(messageOf(name), `args: '${name}' is called '${own}' here`)
    t.true(Object.hasOwn(known, own))
  }
  for (const name of ['bf16', 'fp16', 'trunk', 'torch_dtype'])
    t.regex(messageOf(name), /trunk: 'bfloat16' or 'auto', on the command line --trunk/)
  t.regex(messageOf('overwriteOutputDir'), /--overwrite/)
  t.regex(messageOf('device'), /the model has the device/)
  t.regex(messageOf('per_device_batch_size'), /perDeviceTrainBatchSize, and for evaluations perDeviceEvalBatchSize$/)
})

test('a share of the steps is warmupRatio', (t) => {
  t.throws(() => trainingArguments({ warmupSteps: 0.1 }), {
    instanceOf: RangeError,
    message: /warmupSteps: expected an integer from 0, or as a share of all steps warmupRatio: 0\.1, got 0\.1/
  })
  t.throws(() => trainingArguments({ warmupSteps: 1.5 }), {
    message: /warmupSteps: expected an integer from 0, got 1\.5/
  })
})
