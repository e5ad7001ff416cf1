"""Writes folders for Node: python write_theirs.py FOLDER MODELS MINILM"""

import json
import math
import shutil
import sys
from pathlib import Path

import torch
from adapters import (
    BnConfig, CompacterConfig, CompacterPlusPlusConfig, ConfigUnion, DoRAConfig, DoubleSeqBnConfig, DoubleSeqBnInvConfig,
    DvoRAConfig, IA3Config, LoRAConfig, LoReftConfig, MAMConfig, MTLLoRAConfig, NoReftConfig, ParBnConfig,
    PrefixTuningConfig, PromptTuningConfig, SeqBnConfig, SeqBnInvConfig, UniPELTConfig, VeraConfig
)
from transformers import AutoTokenizer

from common import as_lists, load_base, logits_of

ROWS = {
    "bert-tiny": [[7], [9, 8, 50], [60, 61, 62, 63, 64, 5, 6, 98]],
    "roberta-tiny": [[7], [9, 8, 50], [60, 61, 62, 63, 64, 5, 6, 98]],
    "xlm-roberta-tiny": [[7], [9, 8, 50], [60, 61, 62, 63, 122, 5, 6, 98]],
    **{name: [[7], [9, 8, 30], [20, 21, 22, 23, 24, 5, 6, 36]] for name in ("distilbert-tiny", "electra-tiny", "gpt2-tiny", "gpt2-untied")},
    "vit-tiny": [[round(math.sin(row + 0.7 * i), 3) for i in range(48)] for row in range(2)]
}
TEXTS = [
    "An adapter is a small network between the layers of a large one.", "Rain.", "The committee rejected the proposal!",
    "naïve café, 北京 and a very improbable compoundword"
]


def fill(model):
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, value in model.named_parameters():
            boxes = ("adapters", "loras", "invertible_adapters", "prefix_tunings", "prefix_gates", "prompt_tunings",
                     "refts")
            own = any(f".{box}.a." in name for box in boxes) or name.startswith("heads.a.")
            if own or (".shared_parameters.a." in name and ("phm_rule" in name or ".W_" in name)):
                random = torch.randn(value.shape, generator=generator) * 0.2
                # The diagonal of an orthogonal weight holds signs.
                signs = value * torch.eye(*value.shape) if name.endswith(".original") else None
                value.copy_(random if signs is None else random * (signs == 0) + signs)
                # VeRA has vectors where the peer has matrices: what can be exchanged is diagonal.
                if ".vera_" in name:
                    value.copy_(torch.diag(value.diagonal()))


def train(model, rows):
    """A few real steps, so that the adapter is one that training makes."""
    model.train_adapter("a")
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-2)
    for _ in range(3):
        for label, row in enumerate(rows):
            model(input_ids=torch.tensor([row]), labels=torch.tensor([label % 3])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def to_plain(weights):
    rename = (("adapter_down.0.", "down_project."), ("adapter_up.", "up_project."))
    plain = {}
    for key, value in weights.items():
        for hub, name in rename:
            key = key.replace(hub, name)
        plain[key] = value
    return plain


def untied(folder, models):
    """GPT-2 whose words are not tied; the base model alone."""
    shutil.copytree(models / "gpt2-tiny", folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {"architectures": ["GPT2Model"], "tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


class Writer:
    def __init__(self, out):
        self.out, self.cases = out, []
        out.mkdir(parents=True, exist_ok=True)

    def write(self, name, base, model, rows, safetensors=False, plain=False, texts=None):
        folder = self.out / name
        model.config.name_or_path = model.base_model.config.name_or_path = Path(base).name
        model.save_adapter(str(folder), "a", use_safetensors=safetensors)
        if plain:
            file = folder / "pytorch_adapter.bin"
            torch.save(to_plain(torch.load(file, weights_only=True)), file)
        self.note(name, "adapter", base, model, rows, **({"texts": texts} if texts else {}))

    def note(self, name, kind, base, model, rows, **more):
        logits = as_lists(logits_of(model, rows))
        self.cases.append({"folder": name, "kind": kind, "model": str(base), "rows": rows, "logits": logits, **more})
        print(f"✓ Python wrote {name}")

    def head(self, name, base, add_head, safetensors=False):
        """A head without an adapter."""
        model = load_base(base)
        add_head(model)
        fill(model)
        model.active_head = "a"
        model.save_head(str(self.out / name), "a", use_safetensors=safetensors)
        rows = [row for row in ROWS[Path(base).name] if len(row) > 2 or "parses" not in name]
        self.note(name, "head", base, model.eval(), rows)

    def tiny(self, name, base, config, add_head, **options):
        model = load_base(base)
        model.add_adapter("a", config=config)
        add_head(model)
        model.set_active_adapters("a")
        fill(model)
        self.write(name, base, model.eval(), ROWS[Path(base).name], **options)

    def minilm(self, base):
        model = load_base(base)
        tokenizer = AutoTokenizer.from_pretrained(base)
        rows = [tokenizer(text)["input_ids"] for text in TEXTS]
        model.add_adapter("a", config=SeqBnConfig(reduction_factor=16))
        model.add_classification_head("a", num_labels=3)
        train(model, rows)
        for safetensors in (False, True):
            name = f"minilm-{'safetensors' if safetensors else 'bin'}"
            self.write(name, base, model, rows, safetensors=safetensors, texts=TEXTS)


def main(out, models, minilm):
    writer = Writer(out)
    classification = lambda model: model.add_classification_head("a", num_labels=3)
    writer.tiny("bert-seq_bn", models / "bert-tiny", SeqBnConfig(reduction_factor=4), classification)
    writer.tiny("bert-plain", models / "bert-tiny", SeqBnConfig(reduction_factor=4), classification, plain=True)
    writer.tiny("bert-norms", models / "bert-tiny", BnConfig(
        mh_adapter=True, output_adapter=True, reduction_factor=4, non_linearity="gelu", ln_before=True, ln_after=True),
        lambda model: model.add_classification_head("a", num_labels=1, use_pooler=True))
    writer.tiny("roberta-double", models / "roberta-tiny", DoubleSeqBnConfig(reduction_factor=8),
                lambda model: model.add_tagging_head("a", num_labels=4), safetensors=True)
    writer.tiny("xlm-roberta-parallel", models / "xlm-roberta-tiny", ParBnConfig(scaling="learned"),
                lambda model: model.add_classification_head("a", num_labels=5, multilabel=True), safetensors=True)
    writer.tiny("bert-masked-lm", models / "bert-tiny", SeqBnConfig(reduction_factor=4),
                lambda model: model.add_masked_lm_head("a"))
    for family, language_head in (("distilbert", "masked"), ("electra", "masked"), ("gpt2", "causal")):
        base = models / f"{family}-tiny"
        writer.tiny(f"{family}-double", base, DoubleSeqBnConfig(reduction_factor=2), classification)
        writer.tiny(f"{family}-parallel", base, ParBnConfig(reduction_factor=2),
                    lambda model: model.add_tagging_head("a", num_labels=4), safetensors=True)
        writer.tiny(f"{family}-words", base, SeqBnConfig(reduction_factor=2),
                    lambda model: getattr(model, f"add_{language_head}_lm_head")("a"))
    # The head's output layer is its own, as the model's config says.
    base = untied(out / "base" / "gpt2-untied", models)
    for safetensors in (False, True):
        writer.tiny(f"gpt2-untied-{'safetensors' if safetensors else 'bin'}", base, SeqBnConfig(reduction_factor=2),
                    lambda model: model.add_causal_lm_head("a"), safetensors=safetensors)
    writer.tiny("bert-lora", models / "bert-tiny", LoRAConfig(
        r=4, alpha=6, attn_matrices=["q", "k", "v"], intermediate_lora=True, output_lora=True), classification)
    for family in ("distilbert", "electra"):
        writer.tiny(f"{family}-lora", models / f"{family}-tiny", LoRAConfig(
            r=2, alpha=6, attn_matrices=["q", "k", "v"], intermediate_lora=True, output_lora=True), classification)
    writer.tiny("gpt2-lora", models / "gpt2-tiny", LoRAConfig(
        r=2, alpha=6, attn_matrices=["v", "q", "k"], intermediate_lora=True, output_lora=True), classification)
    writer.tiny("gpt2-lora-gate", models / "gpt2-tiny", LoRAConfig(r=2, use_gating=True), classification)
    writer.tiny("gpt2-ia3", models / "gpt2-tiny", IA3Config(), classification, safetensors=True)
    # With a prefix that GPT-2's few positions have room for.
    writer.tiny("gpt2-unipelt", models / "gpt2-tiny", UniPELTConfig(
        PrefixTuningConfig(prefix_length=2, bottleneck_size=4), SeqBnConfig(reduction_factor=4), LoRAConfig(r=2)), classification)
    writer.tiny("bert-lora-gate", models / "bert-tiny", LoRAConfig(use_gating=True), classification, safetensors=True)
    writer.tiny("roberta-ia3", models / "roberta-tiny", IA3Config(), classification)
    writer.tiny("bert-dora", models / "bert-tiny", DoRAConfig(r=4, alpha=8), classification, safetensors=True)
    writer.tiny("xlm-roberta-vera", models / "xlm-roberta-tiny", VeraConfig(), classification)
    writer.tiny("bert-dvora", models / "bert-tiny", DvoRAConfig(r=4), classification, safetensors=True)
    writer.tiny("bert-mtl_lora", models / "bert-tiny", MTLLoRAConfig(n_up_projection=2), classification)
    writer.tiny("bert-invertible", models / "bert-tiny", DoubleSeqBnInvConfig(reduction_factor=4), classification)
    for family in ("roberta", "distilbert", "electra", "gpt2"):
        language_head = "causal" if family == "gpt2" else "masked"
        writer.tiny(f"{family}-invertible", models / f"{family}-tiny", SeqBnInvConfig(reduction_factor=2),
                    lambda model: getattr(model, f"add_{language_head}_lm_head")("a"), safetensors=family == "gpt2")
    writer.tiny("bert-compacter", models / "bert-tiny", CompacterConfig(reduction_factor=8), classification)
    writer.tiny("bert-compacter++", models / "bert-tiny", CompacterPlusPlusConfig(reduction_factor=4, phm_dim=2),
                classification, safetensors=True)
    writer.tiny("bert-phm-plain", models / "bert-tiny", CompacterPlusPlusConfig(reduction_factor=8), classification,
                plain=True)
    writer.tiny("roberta-phm-shared", models / "roberta-tiny", CompacterConfig(
        reduction_factor=4, phm_rank=2, shared_W_phm=True, factorized_phm_rule=True), classification, safetensors=True)
    for family, fields in (("distilbert", dict(factorized_phm_W=False, shared_phm_rule=False)),
                           ("electra", dict(phm_bias=False)), ("gpt2", dict(is_parallel=True))):
        writer.tiny(f"{family}-phm", models / f"{family}-tiny", CompacterConfig(
            reduction_factor=2, phm_dim=2, **fields), classification)
    writer.tiny("bert-lora-seq_bn", models / "bert-tiny", ConfigUnion(LoRAConfig(leave_out=[0]), SeqBnConfig()),
                classification)
    writer.tiny("bert-prefix", models / "bert-tiny", PrefixTuningConfig(prefix_length=5, bottleneck_size=8), classification)
    writer.tiny("electra-prefix-gates", models / "electra-tiny", PrefixTuningConfig(
        prefix_length=2, bottleneck_size=8, use_gating=True, shared_gating=False, leave_out=[0]), classification)
    writer.tiny("distilbert-prefix-seq_bn", models / "distilbert-tiny", ConfigUnion(
        PrefixTuningConfig(flat=True, prefix_length=3), SeqBnConfig(reduction_factor=2)), classification)
    writer.tiny("bert-loreft", models / "bert-tiny", LoReftConfig(r=3, suffix_positions=1), classification)
    writer.tiny("distilbert-noreft", models / "distilbert-tiny", NoReftConfig(non_linearity="tanh", layers=[1]), classification)
    writer.tiny("gpt2-loreft", models / "gpt2-tiny", LoReftConfig(tied_weights=True), classification)
    writer.tiny("bert-mam", models / "bert-tiny", MAMConfig(), classification)
    writer.tiny("electra-unipelt", models / "electra-tiny", UniPELTConfig(), classification)
    writer.tiny("roberta-prompt", models / "roberta-tiny", PromptTuningConfig(prompt_length=3), classification)
    writer.tiny("electra-prompt", models / "electra-tiny", PromptTuningConfig(combine="prefix_after_bos"), classification,
                safetensors=True)
    image = lambda model: model.add_image_classification_head("a", num_labels=3)
    for name, config, fields in (
        ("double", DoubleSeqBnConfig(reduction_factor=2), {}),
        ("lora", LoRAConfig(r=2, attn_matrices=["q", "k", "v"], intermediate_lora=True, output_lora=True), {}),
        ("ia3", IA3Config(), {"safetensors": True}), ("unipelt", UniPELTConfig(), {}),
        ("loreft", LoReftConfig(r=2), {}), ("prompt", PromptTuningConfig(prompt_length=3), {"safetensors": True})
    ):
        writer.tiny(f"vit-{name}", models / "vit-tiny", config, image, **fields)
    writer.tiny("vit-many-labels", models / "vit-tiny", ParBnConfig(reduction_factor=2), lambda model:
                model.add_image_classification_head("a", num_labels=4, layers=2, multilabel=True, use_pooler=True))
    writer.head("bert-head", models / "bert-tiny", classification)
    for family, safetensors in (("bert", True), ("gpt2", False)):
        writer.head(f"{family}-head-answers", models / f"{family}-tiny", lambda model: model.add_qa_head("a"), safetensors)
    for family, safetensors in (("roberta", False), ("distilbert", True)):
        writer.head(f"{family}-head-choices", models / f"{family}-tiny",
                    lambda model: model.add_multiple_choice_head("a"), safetensors)
    # Not RoBERTa, whose padding id is 1: the peer takes the first word of every row, which begins at 1, for padding.
    for family, safetensors in (("electra", True), ("distilbert", False)):
        writer.head(f"{family}-head-parses", models / f"{family}-tiny",
                    lambda model: model.add_dependency_parsing_head("a", num_labels=3), safetensors)
    writer.minilm(minilm)
    (out / "cases.json").write_text(json.dumps(writer.cases), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
