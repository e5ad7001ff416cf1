"""Python's half of the check of PEFT's folders.

python peft_folders.py read FOLDER            loads what Node wrote: every tensor is used, the answers are the same
python peft_folders.py write FOLDER MODELS    saves adapters with PEFT, and the answers they give
"""

import json
import math
import sys
from pathlib import Path

import torch
from peft import (
    IA3Config, LoraConfig, PeftModel, PrefixTuningConfig, PromptTuningConfig, VeraConfig, get_peft_model,
    get_peft_model_state_dict
)
from peft.utils import load_peft_weights
import transformers
from transformers import (
    AutoModel, AutoModelForCausalLM, AutoModelForImageClassification, AutoModelForMaskedLM, AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering, AutoModelForSequenceClassification, AutoModelForTokenClassification
)

from common import TOLERANCE, difference, finish, inputs_of, read_cases

ROWS = [[7], [9, 8, 30], [20, 21, 22, 23, 24, 5, 6, 36]]
IMAGES = [[round(math.cos(row + 0.7 * i), 3) for i in range(48)] for row in range(2)]
CLASSES = {
    "SEQ_CLS": AutoModelForSequenceClassification, "TOKEN_CLS": AutoModelForTokenClassification,
    "FEATURE_EXTRACTION": AutoModel, "CAUSAL_LM": AutoModelForCausalLM, "QUESTION_ANS": AutoModelForQuestionAnswering
}
WRITTEN = {
    "bert-all": ("bert-tiny", LoraConfig(
        task_type="SEQ_CLS", r=3, lora_alpha=7,
        target_modules=["query", "key", "value", "attention.output.dense", "intermediate.dense"])),
    "bert-dora": ("bert-tiny", LoraConfig(task_type="SEQ_CLS", r=2, lora_alpha=6, use_dora=True)),
    "roberta-linear": ("roberta-tiny", LoraConfig(task_type="SEQ_CLS", r=2, target_modules="all-linear")),
    "electra-rslora": ("electra-tiny", LoraConfig(
        task_type="TOKEN_CLS", r=4, lora_alpha=2, use_rslora=True, target_modules=["dense"])),
    "xlm-roberta-layers": ("xlm-roberta-tiny", LoraConfig(
        task_type="SEQ_CLS", r=2, target_modules=["key"], layers_to_transform=[0, 2], layers_pattern="layer")),
    "bert-ia3": ("bert-tiny", IA3Config(task_type="SEQ_CLS", modules_to_save=["pooler"])),
    "distilbert-ia3": ("distilbert-tiny", IA3Config(
        task_type="SEQ_CLS", target_modules=["k_lin", "v_lin", "lin2"], feedforward_modules=["lin2"],
        modules_to_save=["pre_classifier"])),
    "roberta-vera": ("roberta-tiny", VeraConfig(task_type="SEQ_CLS", r=5, target_modules=["query", "intermediate.dense"])),
    "vit-lora": ("vit-tiny", LoraConfig(r=2, target_modules=["query", "value"], modules_to_save=["classifier"])),
    "vit-ia3": ("vit-tiny", IA3Config(
        target_modules=["key", "value", "intermediate.dense"], feedforward_modules=["intermediate.dense"],
        modules_to_save=["classifier"])),
    "bert-linear": ("bert-tiny", LoraConfig(task_type="SEQ_CLS", r=2, lora_alpha=6, target_modules="all-linear")),
    "bert-linear-dora": ("bert-tiny", LoraConfig(
        task_type="SEQ_CLS", r=2, use_dora=True, use_rslora=True, target_modules="all-linear")),
    "bert-linear-bare": ("bert-tiny", LoraConfig(task_type="FEATURE_EXTRACTION", r=2, target_modules="all-linear")),
    "gpt2-lora": ("gpt2-tiny", LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=3)),
    "gpt2-own-words": ("gpt2-tiny", LoraConfig(task_type="CAUSAL_LM", r=2, modules_to_save=["lm_head"])),
    "gpt2-all": ("gpt2-tiny", LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["c_attn", "c_proj", "c_fc"])),
    "gpt2-dora": ("gpt2-tiny", LoraConfig(task_type="SEQ_CLS", r=2, use_dora=True)),
    "gpt2-vera": ("gpt2-tiny", VeraConfig(task_type="SEQ_CLS", r=4, target_modules=["c_attn", "c_fc"])),
    "gpt2-ia3": ("gpt2-tiny", IA3Config(task_type="SEQ_CLS")),
    "gpt2-prefix": ("gpt2-tiny", PrefixTuningConfig(
        task_type="SEQ_CLS", num_virtual_tokens=3, prefix_projection=True, encoder_hidden_size=5)),
    "gpt2-prompt": ("gpt2-tiny", PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)),
    "bert-prefix": ("bert-tiny", PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3)),
    "bert-prompt": ("bert-tiny", PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3)),
    "roberta-prompt": ("roberta-tiny", PromptTuningConfig(task_type="TOKEN_CLS", num_virtual_tokens=2)),
    "xlm-roberta-prefix": ("xlm-roberta-tiny", PrefixTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=2)),
    "bert-bare": ("bert-tiny", LoraConfig(task_type="FEATURE_EXTRACTION", r=2)),
    "bert-answers": ("bert-tiny", LoraConfig(task_type="QUESTION_ANS", r=2)),
    "gpt2-answers": ("gpt2-tiny", LoraConfig(task_type="QUESTION_ANS", r=2)),
    "roberta-answers-prefix": ("roberta-tiny", PrefixTuningConfig(task_type="QUESTION_ANS", num_virtual_tokens=2)),
    # PEFT has no name for these tasks: its folders name the class.
    "bert-masked": ("bert-tiny", LoraConfig(r=2, modules_to_save=["cls"]), AutoModelForMaskedLM),
    "roberta-masked": ("roberta-tiny", IA3Config(modules_to_save=["lm_head"]), AutoModelForMaskedLM),
    "distilbert-masked": ("distilbert-tiny", LoraConfig(
        r=2, target_modules=["q_lin"], modules_to_save=["vocab_transform", "vocab_layer_norm", "vocab_projector"]),
        AutoModelForMaskedLM),
    "electra-masked": ("electra-tiny", LoraConfig(
        r=2, modules_to_save=["generator_predictions", "generator_lm_head"]), AutoModelForMaskedLM),
    "bert-choices": ("bert-tiny", LoraConfig(r=2, modules_to_save=["pooler", "classifier"]), AutoModelForMultipleChoice),
    "electra-choices": ("electra-tiny", LoraConfig(
        r=2, modules_to_save=["sequence_summary", "classifier"]), AutoModelForMultipleChoice),
    "distilbert-choices": ("distilbert-tiny", LoraConfig(
        r=2, target_modules=["v_lin"], modules_to_save=["pre_classifier", "classifier"]), AutoModelForMultipleChoice)
}


def answers_of(model, rows):
    """Logits of each row, or without a head its last hidden states; without those of virtual tokens. Of an answer's ends
    both for each token."""
    answers = []
    chooses = type(model.get_base_model()).__name__.endswith("ForMultipleChoice")
    for row in rows:
        inputs = inputs_of(model.base_model.config, row)
        if chooses:
            inputs = {"input_ids": torch.tensor([[row, row[::-1]]])}
        if "input_ids" in inputs:
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        with torch.no_grad():
            out = model(**inputs)
        if hasattr(out, "start_logits"):
            values = torch.stack([out.start_logits, out.end_logits], -1)
        else:
            values = out.logits if hasattr(out, "logits") else out.last_hidden_state
        own = "input_ids" in inputs and values.dim() == 3  # of tokens
        answers.append((values[:, -len(row):] if own else values).flatten())
    return answers


def base_of(base_class, folder, labels):
    return base_class.from_pretrained(folder, dtype=torch.float32, **({"num_labels": labels} if labels else {}))


def class_for(config):
    """What a folder's config says that it is for."""
    if config["task_type"] is not None:
        return CLASSES[config["task_type"]]
    return getattr(transformers, config["auto_mapping"]["base_model_class"])


def problems_of(model, folder):
    """PEFT only warns of missing and unexpected keys: every tensor is compared with what it holds after loading."""
    held = get_peft_model_state_dict(model, save_embedding_layers=False)
    file = load_peft_weights(str(folder))
    problems = [f"missing key {name}" for name in sorted(set(held) - set(file))]
    problems += [f"unexpected key {name}" for name in sorted(set(file) - set(held))]
    return problems + [f"{name} differs" for name in sorted(set(file) & set(held)) if not torch.equal(file[name], held[name])]


def read(folder):
    cases = read_cases(folder)
    failures = []
    for case in cases:
        place = folder / case["folder"]
        base_class = class_for(json.loads((place / "adapter_config.json").read_text()))
        model = PeftModel.from_pretrained(base_of(base_class, case["model"], case["labels"]), str(place)).eval()
        problems = problems_of(model, place)
        worst = difference([torch.tensor(row) for row in case["answers"]], answers_of(model, case["rows"]))
        if not worst <= TOLERANCE:
            problems.append(f"answers differ by {worst:.1e}")
        failures += [f"{case['folder']}: {problem}" for problem in problems]
        print(f"{'✗' if problems else '✓'} PEFT loads {case['folder']}: largest difference {worst:.1e}")
    finish(failures, len(cases), "written by Node, read by PEFT")


def write(folder, models):
    cases = []
    torch.manual_seed(3)
    for name, (base, config, *given) in WRITTEN.items():
        base_class = given[0] if given else CLASSES.get(config.task_type, AutoModelForImageClassification)
        labels = None if given or config.task_type in ("FEATURE_EXTRACTION", "QUESTION_ANS") else 3
        model = get_peft_model(base_of(base_class, models / base, labels), config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.3 * torch.randn_like(parameter))
        model.save_pretrained(str(folder / name), safe_serialization=name != "bert-all")
        answers = [row.tolist() for row in answers_of(model, IMAGES if base == "vit-tiny" else ROWS)]
        cases.append({"folder": name, "model": str(models / base), "answers": answers, "task": config.task_type})
        print(f"✓ PEFT wrote {name}")
    (folder / "cases.json").write_text(json.dumps(cases))


if __name__ == "__main__":
    command, target, *rest = sys.argv[1:]
    Path(target).mkdir(parents=True, exist_ok=True)
    write(Path(target), Path(rest[0])) if command == "write" else read(Path(target))
