"""Small checkpoints in memory, and a reader of the HTML made from them."""

import base64
from html.parser import HTMLParser

import numpy as np

from hpcdistill.config import parse_config
from hpcdistill.digest import sha256_of
from hpcdistill.io.checkpoint import SCHEMA_VERSION, Checkpoint
from hpcdistill.learning.history import COLUMNS

VOID = {"meta", "img", "br", "hr", "link"}


def make_checkpoint(method="kip", names=("cat", "<b>&", "$\\frac"), channels=3, per_class=2, *settings, accuracy=True):
    """A checkpoint of random images whose labels, but for krr, are no longer one-hot."""
    classes, rng = len(names), np.random.default_rng(0)
    n = classes * per_class
    one_hot = np.eye(classes)[np.repeat(np.arange(classes), per_class)] - 1 / classes
    labels = one_hot if method == "krr" else one_hot + 0.1 * rng.standard_normal((n, classes))
    display = rng.integers(0, 256, (2, n, 5, 4, channels), dtype=np.uint8)
    config = parse_config("", [f"method={method}", f"support.images_per_class={per_class}", *settings])
    arrays = {"support/images": display[0] / 255, "support/labels": labels, "support/images_display": display[0],
              "support/initial_display": display[1]} | history(method, accuracy)  # fmt: skip
    attributes = {
        "schema_version": SCHEMA_VERSION,
        "hpcdistill_version": "0.1.0",
        "git_commit": "c0ffee",
        "config": config.to_toml(),
        "method": method,
        "dataset": config.data.name,
        "class_names": "\n".join(names),
        "architecture": config.kernel.architecture,
        "step": int(arrays["history/step"][-1]),
        "train_sha256": "7ra1n",
        "test_sha256": "7e57",
        "exchanged": '{"ranks": 3, "since": 0, "step": 4, "messages": {"Allreduce": [8, 5000], "bcast": [4, 24]}}',
        "complete": True,
    }
    return Checkpoint(arrays, attributes)


def history(method, accuracy):
    """The history of 40 steps, evaluated every tenth (KIP), one chunk, or three draws."""
    steps = {"kip": np.arange(41), "label_solve": np.arange(1, 2), "krr": np.arange(3)}[method]
    columns = {f"history/{name}": np.full(len(steps), np.nan) for name in COLUMNS}
    measured = slice(None, None, 10) if method == "kip" else slice(None)
    if accuracy:
        columns["history/test_accuracy"][measured] = 0.5 + 0.01 * steps[measured]
    if method != "krr":
        columns["history/loss"][:] = 0.05
    columns["history/seconds"][:] = steps
    return {"history/step": steps} | columns


def make_records(checkpoint):
    """What `evaluate` and `transfer` may have measured: of this support and of another, as in the run and otherwise."""
    images, classes = checkpoint.arrays["support/labels"].shape
    settings = {"seed": 0, "kernel.architecture": "ConvNet", "kernel.kind": "ntk", "solve.reg": 1e-6}
    support = sha256_of(checkpoint.arrays["support/images"], checkpoint.arrays["support/labels"])
    data = {"name": "digits", "train": "7ra1n", "test": "7e57"}
    common = {"key": "0123", "settings": settings, "data": data, "support": support}
    confusion = (np.eye(classes, dtype=int) * 8 + 1).tolist()
    distilled = common | {"kind": "distilled", "images": images, "test_images": 30, "accuracy": 0.8125, "loss": 0.02,
                          "per_class": [None] + [0.75] * (classes - 1), "confusion": confusion}  # fmt: skip
    natural = common | {"kind": "natural", "support": None, "kernel": "ConvNet NTK", "test_images": 30}
    return [
        distilled | {"kernel": "ConvNet NTK"},
        distilled | {"kernel": "FC7 NTK", "accuracy": 0.4321},
        distilled | {"kernel": "FC8 NTK", "support": "another"},
        distilled | {"kernel": "ConvNet NTK", "accuracy": 0.1111, "settings": settings | {"solve.reg": 1000.0}},
        distilled | {"kernel": "ConvNet NTK", "accuracy": 0.2222, "data": {"name": "x.npz", "train": "x", "test": "y"}},
        natural | {"images": images, "accuracies": [0.25, 0.35]},
        natural | {"images": 10 * images, "accuracies": [0.6]},
        natural | {"images": images, "accuracies": [0.123], "settings": settings | {"seed": 7}},
        common | {"kind": "transfer", "kernel": "ConvNet NTK", "width": 77, "steps": 5000,
                  "parameterization": "standard", "distilled": [0.5], "natural": [0.2, 0.3]},
    ]  # fmt: skip


class Page(HTMLParser):
    """An HTML document read strictly: every element is closed in its place."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.text, self.tags, self.headings, self.figures, self.addresses, self.cells = "", [], [], [], [], []
        self._open = []
        self.feed(text)
        self.close()
        assert self._open == [], self._open

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        self.addresses += [attributes[name] for name in ("src", "href") if name in attributes]
        if tag == "img":
            assert attributes["alt"]
            self.figures.append(attributes["alt"])
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" not in self._open:
            self.text += data
        if self._open and self._open[-1] == "h2":
            self.headings.append(data)
        if self._open and self._open[-1] in ("td", "th"):
            self.cells.append(data)

    def pictures(self):
        """The content of all pictures; fails if one is not in the document itself."""
        assert all(address.startswith("data:image/") for address in self.addresses), self.addresses
        return [base64.b64decode(address.partition("base64,")[2], validate=True) for address in self.addresses]
