"""The peer's side of a benchmark: transformers with adapters at its best public settings.

Reads one JSON command a line, answers one JSON line each:
    {"op": "prepare", "threads", "device", "model", "adapter", "kind": "step" | "forward", "batches", "padTo"?, "setup"?, "eager"?}
    {"op": "run", "repeat", "loop"?}          -> {"seconds": [per pass over all batches]}
    {"op": "switch"}                 -> {"seconds": of making another adapter active}
    {"op": "logits"}                 -> {"logits": rows of the first batch}
    {"op": "memory"}                 -> {"peakBytes"}
    {"op": "gemm", "threads", "device", "tokens", "hidden", "inner"} -> {"gflops"}: the machine's own rate
While it works, lines {"progress", "total"} say how many adapters are there.
"""

import sys
import time

START = time.perf_counter()

import copy
import json

import torch
from adapters import AdapterFusionConfig, BertAdapterModel
from adapters.composition import BatchSplit, Fuse, Parallel
from peer_eager import EagerTagger
from torch.nn.utils import clip_grad_norm_
from transformers import logging

IMPORTED = time.perf_counter()
logging.set_verbosity_error()


def rectangle(rows, pad_to):
    """As a collator pads: to the longest row of the batch, or to a fixed length. No mask where nothing is padded."""
    width = pad_to or max(len(row) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, :len(row)] = torch.tensor(row)
        mask[index, :len(row)] = 1
    return {"input_ids": ids} if bool(mask.all()) else {"input_ids": ids, "attention_mask": mask}


def wait_for(device):
    """A device works on while Python goes on."""
    if device != "cpu":
        torch.cuda.synchronize(device)


class Worker:
    def prepare(self, command):
        torch.set_num_threads(command["threads"])
        self.kind = command["kind"]
        setup = command.get("setup") or {"kind": "one", "count": 1}
        self.setup = setup["kind"]
        self.device = command.get("device", "cpu")
        if command.get("eager"):
            self.model = EagerTagger(command["model"], command["adapter"])
        else:
            self.open_adapters(command, setup)
        self.model.to(self.device)
        made = [
            {**rectangle(batch["inputIds"], command.get("padTo")), "labels": torch.tensor(batch["labels"])}
            for batch in command["batches"]
        ]
        # On a device before anything is timed; ours brings each batch there in its own time.
        self.batches = [{key: value.to(self.device) for key, value in batch.items()} for batch in made]
        if self.kind == "step":
            if not command.get("eager"):
                self.train_adapters(setup)
            self.trainable = [value for value in self.model.parameters() if value.requires_grad]
            decayed = [value for value in self.trainable if value.dim() > 1]
            other = [value for value in self.trainable if value.dim() == 1]
            self.optimizer = torch.optim.AdamW(
                [{"params": decayed, "weight_decay": 0.01}, {"params": other, "weight_decay": 0.0}], lr=1e-4, fused=True)
        else:
            self.model.eval()
        return {"trainable": sum(value.numel() for value in self.model.parameters() if value.requires_grad)}

    def open_adapters(self, command, setup):
        self.model = BertAdapterModel.from_pretrained(command["model"], attn_implementation="sdpa")
        self.names = ["bench"] + [f"bench{i}" for i in range(1, setup["count"])]
        for index, name in enumerate(self.names):
            if index > 0 and setup["kind"] == "switch":
                self.copy_adapter(name)
            else:
                self.model.load_adapter(command["adapter"], use_safetensors=True, load_as=name,
                                        with_head=setup["kind"] in ("parallel", "sweep", "tasks") or name == "bench",
                                        leave_out=setup.get("leaveOut"))
            if (index + 1) % 10 == 0:
                print(json.dumps({"progress": index + 1, "total": len(self.names)}), flush=True)
        self.model.set_active_adapters("bench")
        if setup["kind"] == "fuse":
            config = AdapterFusionConfig.load("dynamic", dropout_prob=0.0)
            self.model.add_adapter_fusion(self.names, config, name="f")
            self.model.set_active_adapters(Fuse(*self.names, name="f"))
            # 0.0 is taken for none, and the model's attention dropout, which is 0 here, instead.
        if setup["kind"] == "mixed" and setup["count"] > 1:
            share = len(command["batches"][0]["inputIds"]) // setup["count"]
            self.model.set_active_adapters(BatchSplit(*self.names, batch_sizes=share))
        if self.setup in ("parallel", "sweep") and len(self.names) > 1:
            self.model.set_active_adapters(Parallel(*self.names))
        else:
            self.model.active_head = "bench"

    def copy_adapter(self, name):
        """What load_adapter leaves behind, which goes through all adapters for each: a thousand take it many minutes."""
        self.model.adapters_config.add(name, self.model.adapters_config.get("bench"))
        if not hasattr(self, "places"):
            self.places = [module for at, module in self.model.named_modules()
                           if isinstance(module, torch.nn.ModuleDict) and "bench" in module and at != "heads"]
        for place in self.places:
            place[name] = copy.deepcopy(place["bench"])
            place[name].name = name

    def train_adapters(self, setup):
        if setup["kind"] == "fuse":
            self.model.train_adapter_fusion(Fuse(*self.names, name="f"))
            self.model.active_head = "bench"
        elif self.setup in ("sweep", "tasks") and len(self.names) > 1:
            self.model.train_adapter(Parallel(*self.names))
            if self.setup == "tasks":
                self.model.set_active_adapters("bench")
                self.model.active_head = "bench"
        else:
            self.model.train_adapter("bench")

    def task_step(self, index, batch):
        self.model.set_active_adapters(self.names[index])
        self.model.active_head = self.names[index]
        self.step(batch)

    def step(self, batch):
        loss = self.model(**batch).loss
        loss.backward()
        clip_grad_norm_(self.trainable, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()

    def forward(self, batch):
        with torch.inference_mode():
            # Of several heads those of one after the other.
            return self.model(input_ids=batch["input_ids"], attention_mask=batch.get("attention_mask")).logits

    def loop(self, batch):
        """One adapter after the other: each is made active and answers its rows in a pass of its own."""
        share = len(batch["input_ids"]) // len(self.names)
        for index, name in enumerate(self.names):
            self.model.set_active_adapters(name)
            self.model.active_head = "bench"
            self.forward({key: value[index * share:(index + 1) * share] for key, value in batch.items()})
        self.model.set_active_adapters(BatchSplit(*self.names, batch_sizes=share) if len(self.names) > 1 else "bench")
        self.model.active_head = "bench"

    def run(self, command):
        work = self.loop if command.get("loop") else self.step if self.kind == "step" else self.forward
        seconds = []
        for _ in range(command["repeat"]):
            start = time.perf_counter()
            for index, batch in enumerate(self.batches):
                self.task_step(index, batch) if self.setup == "tasks" else work(batch)
            wait_for(self.device)
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds}

    def switch(self, _):
        # As many as two seconds take, where each is slow.
        start = time.perf_counter()
        count = 0
        while count < 10 or (count < 200 and time.perf_counter() - start < 2):
            self.model.set_active_adapters(self.names[count % len(self.names)])
            count += 1
        return {"seconds": (time.perf_counter() - start) / count}

    def logits(self, _):
        return {"logits": self.forward(self.batches[0]).tolist()}

    def memory(self, _):
        with open("/proc/self/status", encoding="ascii") as status:
            kilobytes = next(line for line in status if line.startswith("VmHWM")).split()[1]
        return {"peakBytes": int(kilobytes) * 1024}

    def load(self, command):
        """From files to the first logits; the imports are told apart."""
        start = time.perf_counter()
        self.prepare({**command, "kind": "forward"})
        logits = self.forward(self.batches[0]).tolist()
        return {"logits": logits, "seconds": time.perf_counter() - start, "importSeconds": IMPORTED - START}

    def gemm(self, command):
        """The best of what this machine multiplies float32 with, over the shapes of one layer: the two libraries that
        torch can call, and where tiles multiply bfloat16, a sixth of their rate (three parts of each number)."""
        torch.set_num_threads(command["threads"])
        tokens, hidden, inner = command["tokens"], command["hidden"], command["inner"]
        device = command.get("device", "cpu")
        ways = ["plain"]
        if device == "cpu":
            ways.append("packed")
            if torch.cpu._is_amx_tile_supported():
                ways.append("tiles")
        best = 0.0
        with torch.inference_mode():
            for way in ways:
                seconds = flops = 0.0
                for rows, columns, count in ((hidden, hidden, 4), (inner, hidden, 1), (hidden, inner, 1)):
                    x, weight = torch.randn(tokens, columns, device=device), torch.randn(rows, columns, device=device)
                    if way == "tiles":
                        x, weight = x.bfloat16(), weight.bfloat16()
                    if way != "plain":
                        weight = torch.ops.mkldnn._reorder_linear_weight(weight, tokens)
                        product = lambda: torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
                    else:
                        product = lambda: torch.nn.functional.linear(x, weight)
                    fastest = float("inf")
                    for _ in range(command.get("repeat", 12)):
                        wait_for(device)
                        start = time.perf_counter()
                        product()
                        wait_for(device)
                        fastest = min(fastest, time.perf_counter() - start)
                    seconds += fastest * count
                    flops += 2 * tokens * rows * columns * count
                best = max(best, flops / seconds / 1e9 / (6 if way == "tiles" else 1))
        return {"gflops": best}


def main():
    worker = Worker()
    operations = {name: getattr(worker, name) for name in ("prepare", "run", "switch", "logits", "memory", "load", "gemm")}
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = operations[command["op"]](command)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
