"""Python's half of the check of exported classes: archives of Llama with and without a head, and of networks that write
attention out, and folders of PEFT's and of adapters' for them, both ways.

exported_classes.py make FOLDER     exports the classes; saves adapters, with what they give
exported_classes.py check FOLDER    loads Node's folders into the classes that they name
"""

import json
import sys
import warnings
from pathlib import Path

import adapters
import torch
import transformers
from peft import LoraConfig, PeftModel, PrefixTuningConfig, get_peft_model

root = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(root / "scripts" / "fixtures"), str(root / "scripts" / "export")]
from seeded import normal  # noqa: E402
from torch_adapters_export.__main__ import main as export  # noqa: E402

warnings.simplefilter("ignore")
transformers.logging.set_verbosity_error()
torch.set_num_threads(1)
way, folder = sys.argv[1], Path(sys.argv[2])
rows = [[7], [9, 8, 30], [20, 21, 22, 23, 24, 5, 6, 36]]
SIZES = dict(
    vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=32, pad_token_id=0, bos_token_id=1, eos_token_id=2, num_labels=3)
CLASSES = {"base": "LlamaModel", "words": "LlamaForCausalLM", "labels": "LlamaForSequenceClassification",
           "capped": "Gemma2Model", "disentangled": "DebertaV2Model",
           "older": "DebertaModel", "spans": "BertForQuestionAnswering", "tower": "CLIPTextModel",
           "undone": "Qwen3ForCausalLM", "both": "T5ForConditionalGeneration", "layered": "BartForConditionalGeneration"}
OTHERS = {
    "capped": lambda: transformers.Gemma2Config(**SIZES, head_dim=6, sliding_window=32),
    # adapters makes a prefix of as many heads as num_key_value_heads says, whatever the model makes of it.
    "disentangled": lambda: transformers.DebertaV2Config(
        **{**SIZES, "num_key_value_heads": 4}, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=4,
        position_biased_input=False, type_vocab_size=0),
    # Its code cuts a table of positions at a number that it computes as a tensor.
    "older": lambda: transformers.DebertaConfig(
        **{**SIZES, "num_key_value_heads": 4}, relative_attention=True, pos_att_type=["p2c", "c2p"],
        max_relative_positions=4, position_biased_input=False, type_vocab_size=0),
    "spans": lambda: transformers.BertConfig(**{**SIZES, "num_labels": 2}),
    "tower": lambda: transformers.CLIPTextConfig(**SIZES),
    "undone": lambda: transformers.Qwen3Config(**SIZES, head_dim=4),
    "both": lambda: transformers.T5Config(
        vocab_size=40, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4, decoder_start_token_id=0),
    "layered": lambda: transformers.BartConfig(
        vocab_size=40, d_model=16, encoder_ffn_dim=24, decoder_ffn_dim=24, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=4, decoder_attention_heads=4, max_position_embeddings=32, decoder_start_token_id=0,
        pad_token_id=0, bos_token_id=1, eos_token_id=2),
}
# Heads that learned, which go into the archive of the class without one.
HEADS = {"score": ("base", "LlamaForSequenceClassification", "SEQ_CLS", ["q_proj", "v_proj", "down_proj"]),
         "tags": ("base", "LlamaForTokenClassification", "TOKEN_CLS", ["q_proj"]),
         "capped-tags": ("capped", "Gemma2ForTokenClassification", "TOKEN_CLS", ["q_proj"]),
         "disentangled-tags": ("disentangled", "DebertaV2ForTokenClassification", "TOKEN_CLS", ["query_proj"])}
# Written out in two products.
EAGER = {"capped"}
BARE = {"base", "capped", "disentangled"}


def fill(model, wanted, size=0.3, around=0.0):
    with torch.no_grad():
        for name, value in model.named_parameters():
            if wanted(name):
                value.copy_(normal(name, tuple(value.shape), size) + around)
    return model.eval()


def answers(model):
    given = []
    for row in rows:
        with torch.no_grad():
            mask = torch.ones(1, len(row), dtype=torch.long)
            # As Node has it where nobody says what the decoder reads.
            written = {"decoder_input_ids": torch.tensor([[0, *row[:-1]]])} if model.config.is_encoder_decoder else {}
            out = model(input_ids=torch.tensor([row]), attention_mask=mask, **written)
        if "start_logits" in out:
            states = torch.stack([out.start_logits, out.end_logits], -1)
        else:
            states = out.logits if "logits" in out else out.last_hidden_state
        given.append(states.flatten().tolist())
    return given


def keep(name, archive, model):
    (folder / f"{name}.json").write_text(json.dumps({"archive": archive, "rows": rows, "answers": answers(model)}))


def load(archive, class_name=None, **extra):
    if archive in EAGER:
        extra["attn_implementation"] = "eager"
    return getattr(transformers, class_name or CLASSES[archive]).from_pretrained(folder / archive, **extra).eval()


def load_for_adapters(archive):
    """Llama's mask of booleans would hide a prefix there: eager attention has one of numbers. DeBERTa's queries, keys and
    values, which have no bias, get one there, of random numbers."""
    model = load(archive)
    if archive in ("base", "words"):
        model.set_attn_implementation("eager")
    adapters.init(model)
    for name, value in model.named_parameters():
        if name.endswith("in_proj.bias"):
            torch.nn.init.zeros_(value)
    return model


def make():
    for archive, class_name in CLASSES.items():
        config = OTHERS.get(archive, lambda: transformers.LlamaConfig(**SIZES))()
        model = getattr(transformers, class_name)(config)
        fill(model, lambda name: "norm" not in name, 0.2).save_pretrained(folder / archive)
        file = folder / f"{archive}.pt2"
        eager = ["--attention", "eager"] if archive in EAGER else []
        assert export([str(folder / archive), str(file), "--class", class_name, "--tokenizer", "none", *eager]) == 0
    lora = dict(r=2, target_modules=["q_proj", "v_proj", "down_proj"])
    theirs = {
        "lora-base": ("base", LoraConfig(task_type="FEATURE_EXTRACTION", **lora)),
        "lora-words": ("words", LoraConfig(task_type="CAUSAL_LM", **lora)),
        "lora-lm-head": ("words", LoraConfig(r=2, task_type="CAUSAL_LM", target_modules=["k_proj", "lm_head"])),
        "all-linear": ("words", LoraConfig(r=2, task_type="CAUSAL_LM", target_modules="all-linear")),
        "lora-older": ("older", LoraConfig(task_type="FEATURE_EXTRACTION", r=2, target_modules=["in_proj", "output.dense"])),
        "prefix-base": ("base", PrefixTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=5)),
        "prefix-capped": ("capped", PrefixTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=4)),
        "prefix-words": ("words", PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)),
    }
    for name, (archive, config) in theirs.items():
        learned = ("lora_", "prompt_encoder")
        model = fill(get_peft_model(load(archive), config), lambda path: any(part in path for part in learned))
        model.save_pretrained(folder / "theirs" / name)
        keep(name, archive, model)
    for name, (archive, class_name, task, targets) in HEADS.items():
        config = LoraConfig(task_type=task, r=2, target_modules=targets)
        model = get_peft_model(load(archive, class_name, num_labels=3), config)
        fill(model, lambda path: "lora_" in path or "modules_to_save" in path).save_pretrained(folder / "theirs" / name)
        keep(name, archive, model)
    hub = {"hub-ia3": ("base", "ia3"), "hub-inner": ("base", "lora[r=2, intermediate_lora=True]"),
           "hub-outer": ("base", "lora[r=2, output_lora=True, leave_out=[0]]"),
           "hub-network": ("base", "prefix_tuning[prefix_length=3, bottleneck_size=5]"),
           "hub-inside": ("words", "prefix_tuning[prefix_length=3, bottleneck_size=5]"),
           "hub-older": ("older", "seq_bn[reduction_factor=4]"),
           "hub-older-prefix": ("older", "prefix_tuning[flat=True, prefix_length=3]"),
           "hub-undone": ("undone", "seq_bn_inv[reduction_factor=4]"),
           "hub-kept": ("words", "seq_bn_inv[reduction_factor=4]"),
           "hub-both": ("both", "seq_bn_inv[reduction_factor=4]"),
           "hub-layered": ("layered", "seq_bn_inv[reduction_factor=4]"),
           "hub-prefix": ("disentangled", "prefix_tuning[flat=True, prefix_length=3, use_gating=True]")}
    for name, (archive, config) in hub.items():
        model = load_for_adapters(archive)
        model.add_adapter("x", config=config)
        model.set_active_adapters("x")
        own = (".adapters.x.", ".loras.x.", ".prefix_tunings.x.", ".prefix_gates.x.", ".invertible_adapters.x.")
        fill(model, lambda path: any(part in path for part in own), around=1.0 if name == "hub-ia3" else 0.0)
        model.save_adapter(folder / "theirs" / name, "x", use_safetensors=not config.startswith("prefix"), with_head=False)
        keep(name, archive, model)


def check():
    for file in sorted(folder.glob("ours-*.json")):
        own = json.loads(file.read_text())
        place = folder / "ours" / file.stem
        config = json.loads((place / "adapter_config.json").read_text())
        if "peft_type" in config:
            class_name = config["auto_mapping"]["base_model_class"] if config.get("auto_mapping") else CLASSES["words"]
            extra = {"num_labels": 3} if config["modules_to_save"] and own["archive"] in BARE else {}
            model = load(own["archive"], class_name, **extra)
            assert config["task_type"] == own["task"], (file.stem, config["task_type"])
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                model = PeftModel.from_pretrained(model, place).eval()
            missing = [str(one.message) for one in told if "missing" in str(one.message).lower()]
            assert not missing, (file.stem, missing)
        else:
            model = load_for_adapters(own["archive"])
            model.load_adapter(str(place), set_active=True, use_safetensors=True)
            model.eval()
        got = answers(model)
        apart = max(abs(a - b) for one, other in zip(got, own["answers"]) for a, b in zip(one, other))
        assert apart < 1e-5, f"{file.stem}: off by {apart}"
        print(f"{type(model).__name__} answers with {file.stem} as Node does ({apart:.1e})")


if way == "make":
    folder.mkdir(parents=True, exist_ok=True)
    make()
else:
    check()
