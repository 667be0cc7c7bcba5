"""Commands, options, paths, keys and defaults that a page or a help text names are those that there are."""

import argparse
import re
import tomllib

import documents
import pytest

from hpcdistill.__main__ import build_parser
from hpcdistill.cluster.profile import Profile
from hpcdistill.config import config_class, parse_config
from hpcdistill.method import own_methods
from hpcdistill.schema import all_keys, build, toml_value

PARSER = build_parser()
KEYS = {key: default for key, default, _ in all_keys(config_class(own_methods()))}
PROFILE_KEYS = {key: default for key, default, _ in all_keys(Profile)}
SECTIONS = {key.partition(".")[0] for key in (*KEYS, *PROFILE_KEYS) if "." in key}
TEXTS = {str(path.relative_to(documents.ROOT)): path.read_text() for path in documents.pages()}
TEXTS |= {parser.prog: parser.format_help() for parser in documents.all_parsers(PARSER)}
TEXTS |= {name: (documents.ROOT / name).read_text() for name in ("jobs/setup.sh", "jobs/demo.sh", "tests/run.sh")}
each_text = pytest.mark.parametrize("name", TEXTS)


def problem_of(words):
    """Return what is wrong with the arguments of `hpcdistill`, None where nothing is."""
    try:
        parser, rest = documents.parser_of(PARSER, words)
    except ValueError as error:
        return str(error)
    known = {option for action in parser._actions for option in action.option_strings}
    options = [re.split(r"[=\[\]]", word)[0] for word in rest if word.startswith("--")]
    return next((f"no option {option}" for option in options if option not in known), None)


@each_text
def test_commands_and_options(name):
    text = documents.code_of(TEXTS[name]) if name.endswith(".md") else TEXTS[name]
    assert not {" ".join(words): why for words in documents.commands(text) if (why := problem_of(words))}


@pytest.mark.parametrize("name", [name for name in TEXTS if name.endswith(".md")])
def test_commands_in_blocks_parse(name, monkeypatch):
    """As a whole: types of values, and what must be given."""
    shell = [block.text for block in documents.blocks(TEXTS[name]) if block.language == "bash"]
    wrong = []
    for words in (words for text in shell for words in documents.commands(text)):
        try:
            PARSER.parse_args([word for word in words if word != "…"])
        except SystemExit as ended:
            wrong += [words] if ended.code else []
    assert not wrong


@each_text
def test_paths(name):
    missing = [path for path in documents.paths(TEXTS[name]) if not list(documents.ROOT.glob(path))]
    assert not missing


@each_text
def test_settings(name):
    wrong = [key for key, _ in documents.settings(TEXTS[name]) if key not in KEYS and key.lower() == key]
    assert not wrong


@pytest.mark.parametrize("name", [name for name in TEXTS if name.endswith(".md")])
def test_keys(name):
    text = documents.without_blocks(TEXTS[name])
    named = {key for key in documents.keys(text) if key.partition(".")[0] in SECTIONS}
    assert named - KEYS.keys() - PROFILE_KEYS.keys() - FILES <= set()


#: What looks like a key, and is a file.
FILES = {"evaluation.json", "config.toml", "preprocess.h5"}


@pytest.mark.parametrize("name", [name for name in TEXTS if name.endswith(".md")])
def test_configurations_are_valid(name):
    for block in documents.blocks(TEXTS[name]):
        if block.language != "toml":
            continue
        table = tomllib.loads(block.text)
        if table.keys() & {"executor", "resources", "launch"}:
            build(Profile, table, "", name)
        elif "project" not in table:
            parse_config(block.text, where=name)


@pytest.mark.parametrize("name", [name for name in TEXTS if name.endswith(".md")])
def test_defaults_of_pages(name):
    told = documents.defaults(TEXTS[name])
    assert {(key, value) for key, value in told if toml_value((KEYS | PROFILE_KEYS)[key]) != value} == set()


def shown(value):
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_defaults_of_helps():
    """Where a help says "default: X" and the parser knows a default, it is X."""
    wrong = []
    for parser in documents.all_parsers(PARSER):
        for action in parser._actions:
            told = re.search(r"default: ([^);]+)", action.help or "")
            if not told or isinstance(action, argparse._HelpAction) or action.default in (None, [], "", False):
                continue
            words = told[1].split(":")[0]
            both = isinstance(action.default, list) and words == "both" and len(action.default) == 2
            if not both and words != shown(action.default):
                wrong.append((parser.prog, action.dest, told[1], action.default))
    assert not wrong


def test_reads_what_there_is():
    """The checks above can fail."""
    block = "```bash\nmpirun -n 2 hpcdistill run jobs/none.toml \\\n  --set kip.stepz=1  # x\n```\n"
    text = f"say `hpcdistill rum --fast`, or\n{block}"
    second, first = documents.commands(documents.code_of(text))
    assert problem_of(first) == "no command 'rum'"
    assert second == ["run", "jobs/none.toml", "--set", "kip.stepz=1"]
    assert documents.paths(text) == {"jobs/none.toml"}
    assert documents.settings(text) == {("kip.stepz", "1")}
    assert documents.keys("`kip.batch = 0` and `solve.reg`") == {"kip.batch", "solve.reg"}
    assert documents.defaults("`kip.batch` (default: `7`)") == {("kip.batch", "7")}
    assert problem_of(["bench", "step", "--images", "3", "--imagez"]) == "no option --imagez"
