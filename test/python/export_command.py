"""The exporter as a command: what it prints, and how short it is about what it refuses."""

import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import transformers

SCRIPTS = str(Path(__file__).resolve().parents[2] / "scripts" / "export")
sys.path.insert(0, SCRIPTS)
from torch_adapters_export.hub import why_unreachable  # noqa: E402
from torch_adapters_export.refused import Usage  # noqa: E402


def command(*arguments, **environment):
    """The command, with what it printed."""
    return subprocess.run([sys.executable, "-m", "torch_adapters_export", *arguments], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": SCRIPTS, "PYTHONDONTWRITEBYTECODE": "1", **environment})


def run(*arguments, **environment):
    """What the command prints, on both streams, where it refuses."""
    ran = command(*arguments, **environment)
    assert ran.returncode == 1, ran
    return ran.stdout + ran.stderr


def answering(code):
    """The address of a hub that answers this, always."""
    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(code)
            self.end_headers()

        def log_message(self, *_):
            pass
    server = HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


with TemporaryDirectory() as folder:
    paths = os.pathsep.join((SCRIPTS, folder))
    # As a command: examples in the range that is given, and types of the network's own.
    (Path(folder) / "own.py").write_text(
        "import torch\nclass Own(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.first, self.second = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3).double()\n"
        "    def forward(self, x):\n        return self.second(self.first(x).double()).float()\n")
    made = command("own:Own", str(Path(folder) / "own.pt2"), "--inputs", "x=float32[batch,frames,3]", "--range",
                   "frames=16..64", PYTHONPATH=paths)
    assert made.returncode == 0 and "x float32[batch, frames, 3]" in made.stdout, made
    # Examples of the network's own say no size that varies, and the note how to.
    with (Path(folder) / "own.py").open("a") as more:
        more.write("def pair():\n    return Own(), {'x': torch.ones(2, 5, 3)}\n")
    made = command("own:pair", str(Path(folder) / "pair.pt2"), PYTHONPATH=paths)
    assert made.returncode == 0 and "x float32[batch, 5, 3]" in made.stdout, made
    assert "note      every row has the examples' sizes" in made.stdout and "--inputs 'x=float32[batch," in made.stdout, made
    (Path(folder) / "deciding.py").write_text(
        "import torch\nclass Deciding(torch.nn.Module):\n    def forward(self, x):\n"
        "        return x + 1 if x.abs().sum() > 0 else x\n")
    deciding = ("deciding:Deciding", str(Path(folder) / "out.pt2"), "--inputs", "x=float32[batch,3]")
    lines = run(*deciding, PYTHONPATH=paths).splitlines()
    assert len(lines) == 4 and lines[0].startswith("torch-adapters-export: torch.export refuses Deciding: "), lines
    assert lines[3].strip().endswith("return x + 1 if x.abs().sum() > 0 else x"), lines
    assert "Traceback" in run(*deciding, "--verbose", PYTHONPATH=paths)
    # What has no names for its arguments, gives a text beside its tensors, or numbers its outputs.
    (Path(folder) / "odd.py").write_text(
        "import torch\nclass Nameless(torch.nn.Module):\n    def forward(self, *args, **kwargs):\n        return args[0]\n"
        "class Texts(torch.nn.Module):\n    def forward(self, x):\n        return {'y': x + 1, 'kind': 'text'}\n"
        "class Numbered(torch.nn.Module):\n    def forward(self, x):\n        return {0: x + 1}\n")
    for name, status, expected in (("Nameless", 2, "names no argument"), ("Texts", 1, "--verbose prints"), ("Numbered", 0, "")):
        made = command(f"odd:{name}", *deciding[1:], PYTHONPATH=paths)
        assert made.returncode == status and expected in made.stderr and "Traceback" not in made.stderr, made
    (Path(folder) / "failing.py").write_text(
        "import torch\nmade = torch.nn.Linear(2, 2)\ndef none(size):\n    return made\n")
    lines = run("failing:none", *deciding[1:], PYTHONPATH=paths).splitlines()
    assert len(lines) == 2 and "none() fails: TypeError" in lines[0] and "without arguments" in lines[1], lines
    # Weights of another shape than the config says, and an image network whose sizes no config has.
    small = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9)
    transformers.BertModel(transformers.BertConfig(**small)).save_pretrained(Path(folder) / "bert")
    config = Path(folder) / "bert" / "config.json"
    config.write_text(config.read_text().replace('"intermediate_size": 8', '"intermediate_size": 12'))
    lines = run(str(Path(folder) / "bert"), *deciding[1:2], "--tokenizer", "none").splitlines()
    assert len(lines) == 2 and "its weights are not what AutoModel has with its config.json" in lines[0], lines
    assert " where the class has [12" in lines[0], lines
    made = command(*deciding, "--tokenizer", str(Path(folder) / "bert"), PYTHONPATH=paths)
    assert made.returncode == 2 and "bert has none; expected a folder or a name" in made.stderr, made
    # A part of another model, whose type AutoModel does not know.
    transformers.BertModel(transformers.BertConfig(**small)).save_pretrained(Path(folder) / "part")
    config = Path(folder) / "part" / "config.json"
    config.write_text(config.read_text().replace('"model_type": "bert"', '"model_type": "bert_part"'))
    lines = run(str(Path(folder) / "part"), *deciding[1:2], "--tokenizer", "none").splitlines()
    assert "cannot be loaded as AutoModel" in lines[0] and "--class BertModel, which its config.json names" in lines[-1], lines
    # Images whose sizes a config inside of the config has.
    tower = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    both = transformers.CLIPConfig(text_config={**tower, "vocab_size": 9},
                                   vision_config={**tower, "image_size": 8, "patch_size": 4}, num_labels=2)
    transformers.CLIPForImageClassification(both).save_pretrained(Path(folder) / "clip")
    made = command(str(Path(folder) / "clip"), *deciding[1:2], "--tokenizer", "none", "--class", "CLIPForImageClassification")
    assert made.returncode == 0 and "pixel_values float32[batch, 3, 8, 8]" in made.stdout, made
    images = transformers.SegformerConfig(hidden_sizes=[8] * 4, depths=[1] * 4, num_attention_heads=[1] * 4)
    transformers.SegformerModel(images).save_pretrained(Path(folder) / "images")
    lines = run(str(Path(folder) / "images"), *deciding[1:2], "--tokenizer", "none").splitlines()
    assert "--inputs 'pixel_values=float32[batch,3,224,224]'" in lines[1], lines
    # A decoder behind an encoder of sounds.
    sounds = transformers.WhisperConfig(
        vocab_size=60, d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=1, decoder_attention_heads=1,
        encoder_ffn_dim=8, decoder_ffn_dim=8, max_source_positions=10, num_mel_bins=4, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, decoder_start_token_id=1)
    transformers.WhisperModel(sounds).save_pretrained(Path(folder) / "sounds")
    both = "input_features=float32[batch,4,20],decoder_input_ids=int64[batch,sequence]<60"
    for further in ((), ("--inputs", both)):
        lines = run(str(Path(folder) / "sounds"), *deciding[1:2], "--tokenizer", "none", *further).splitlines()
        assert "WhisperModel reads input_features and answers by a decoder" in lines[0] and "--part encoder" in lines[1], lines
    made = command("failing:made", *deciding[1:], PYTHONPATH=paths)
    assert made.returncode == 2 and "made is Linear; expected a function without arguments" in made.stderr, made
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    hub = {"HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": "", "HF_HOME": folder}
    lines = run("nobody/nothing", str(Path(folder) / "out.pt2"), HF_ENDPOINT=nobody, **hub).splitlines()
    assert len(lines) == 2 and f"{nobody} cannot be reached (" in lines[0], lines
    os.environ.update(hub)
    for address, expected in ((answering(404), None), (answering(503), "it answers 503")):
        os.environ["HF_ENDPOINT"] = address
        assert why_unreachable("nobody/nothing") == expected, why_unreachable("nobody/nothing")
    assert why_unreachable(folder) is None
try:
    why_unreachable("./nothing")
except Usage as error:
    assert "there is no such folder" in str(error), error
else:
    raise AssertionError("a folder that is not there was taken")

print("The exporter's command makes archives, and is short about what it refuses")
