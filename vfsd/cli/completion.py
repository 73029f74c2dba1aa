"""`vfsd completion bash|zsh|fish`: print what makes that shell complete vfsd's words.

The scripts are made from what the verbs accept (parsers.py), and ask vfsd nothing when they run:
snapshots' names come from the store's directory, so that a tab costs no start of Python.

What it is *not*: paths. Each shell completes those itself, inside a mount as anywhere.

Concurrency: none.

Sources: bash(1), "Programmable Completion"; zshcompsys(1), `_arguments`; complete(1) of fish.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from shlex import quote

from vfsd.cli.parsers import Flag, Words, everything
from vfsd.exitcodes import ExitCode

NAMES = '"${XDG_STATE_HOME:-$HOME/.local/state}/vfsd/store/snapshots"'
SNAPSHOTS = frozenset({"NAME", "NAMES", "A", "B"})
"""Arguments that are, or may be, a snapshot's name."""
FORKED = frozenset({"--from"})
"""Options whose value is one."""


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd completion`."""
    parser = argparse.ArgumentParser(
        prog="vfsd completion", description="Print what makes a shell complete vfsd's words."
    )
    parser.add_argument("shell", choices=tuple(WRITERS), help="which shell")
    given = parser.parse_args(arguments)
    print("\n".join(WRITERS[given.shell](list(everything()))))
    return ExitCode.OK


def _names_snapshot(words: Words) -> bool:
    return any(name in SNAPSHOTS for name, _, _ in words.places) and words.verb != "run"


def _choices(words: Words) -> tuple[str, ...]:
    return words.places[0][2] if words.places else ()


def bash(verbs: list[Words]) -> Iterator[str]:
    """Yield the lines for bash."""
    top = [words for words in verbs if " " not in words.verb]
    yield "# Completion of vfsd for bash: source <(vfsd completion bash)"
    yield "_vfsd() {"
    yield "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}"
    yield "    local verb=${COMP_WORDS[1]} flags= words= values= snapshots= position"
    yield "    COMPREPLY=()"
    yield "    if ((COMP_CWORD == 1)); then"
    verbs_told = " ".join(words.verb for words in top)
    yield f'        COMPREPLY=($(compgen -W "{verbs_told} --help --version" -- "$cur"))'
    yield "        return"
    yield "    fi"
    yield "    for ((position = 2; position < COMP_CWORD; position++)); do"
    yield "        if [[ ${COMP_WORDS[position]} == -- ]]; then"
    yield '            ((position + 1 == COMP_CWORD)) && COMPREPLY=($(compgen -c -- "$cur"))'
    yield "            return"
    yield "        fi"
    yield "    done"
    inner = "|".join(sorted({words.verb.split(" ")[0] for words in verbs if " " in words.verb}))
    yield f"    case $verb in {inner})"
    yield '        ((COMP_CWORD > 2)) && verb="$verb ${COMP_WORDS[2]}" ;;'
    yield "    esac"
    yield "    case $verb in"
    for words in verbs:
        flags = " ".join(name for flag in words.flags for name in flag.names)
        snapshots = " snapshots=1" if _names_snapshot(words) else ""
        yield f"        {quote(words.verb)}) flags={quote(flags)}{snapshots}"
        if _choices(words):
            yield f"            words={quote(' '.join(_choices(words)))}"
        valued = [flag for flag in words.flags if flag.value]
        if valued:
            yield "            case $prev in"
            for flag in valued:
                yield f"                {'|'.join(flag.names)}) {_bash_value(flag)} ;;"
            yield "            esac"
        yield "            ;;"
    yield "    esac"
    yield "    if [[ $snapshots == only ]]; then flags= words=; fi"
    yield "    if [[ $values == files ]]; then return; fi"
    yield "    if [[ -n $values ]]; then flags= words=$values; fi"
    yield f'    if [[ -n $snapshots ]]; then words+=" $(ls -- {NAMES} 2>/dev/null)"; fi'
    yield "    [[ $cur == -* ]] || flags="
    yield '    COMPREPLY=($(compgen -W "$flags $words" -- "$cur"))'
    yield "}"
    # Where nothing fits, bash completes paths.
    yield "complete -o default -o bashdefault -F _vfsd vfsd"


def _bash_value(flag: Flag) -> str:
    if flag.choices:
        return f"values={quote(' '.join(flag.choices))}"
    return "snapshots=only" if flag.names[0] in FORKED else "values=files"


def zsh(verbs: list[Words]) -> Iterator[str]:
    """Yield the lines for zsh."""
    yield "#compdef vfsd"
    yield "# Completion of vfsd for zsh: a file _vfsd in a directory of fpath."
    yield "_vfsd_snapshots() {"
    yield "    local -a names"
    yield f'    names=(${{(f)"$(ls -- {NAMES} 2>/dev/null)"}})'
    yield "    compadd -a names"
    yield "}"
    yield "_vfsd() {"
    yield "    local -a verbs"
    yield "    if ((CURRENT == 2)); then"
    yield "        verbs=("
    for words in verbs:
        if " " not in words.verb:
            yield f"            {quote(words.verb + ':' + words.summary)}"
    yield "        )"
    yield "        _describe verb verbs"
    yield "        return"
    yield "    fi"
    yield "    shift words; ((CURRENT--))"
    yield "    local verb=$words[1]"
    inner = "|".join(sorted({words.verb.split(" ")[0] for words in verbs if " " in words.verb}))
    yield f"    case $verb in ({inner})"
    yield "        if ((CURRENT > 2)); then"
    yield '            verb="$verb $words[2]"; shift words; ((CURRENT--))'
    yield "        fi ;;"
    yield "    esac"
    yield "    case $verb in"
    for words in verbs:
        yield f"        ({quote(words.verb)}) _arguments \\"
        for flag in words.flags:
            for name in flag.names:
                yield f"            {_zsh_flag(name, flag)} \\"
        if words.verb == "run":
            yield "            '*::command:_normal' ;;"
        elif _choices(words):
            first = quote(f"1:word:({' '.join(_choices(words))})")
            yield f"            {first} '*:path:_files' ;;"
        elif _names_snapshot(words):
            yield "            '*:snapshot or path:{_vfsd_snapshots; _files}' ;;"
        else:
            yield "            '*:path:_files' ;;"
    yield "    esac"
    yield "}"
    yield 'if [[ $funcstack[1] == _vfsd ]]; then _vfsd "$@"; else compdef _vfsd vfsd; fi'


def _zsh_flag(name: str, flag: Flag) -> str:
    told = "".join(f"\\{each}" if each in "[]:\\" else each for each in flag.text)
    if not flag.value:
        return quote(f"*{name}[{told}]")
    how = "_files"
    if flag.choices:
        how = f"({' '.join(flag.choices)})"
    elif name in FORKED:
        how = "_vfsd_snapshots"
    return quote(f"*{name}[{told}]:{flag.value.replace(':', ' ')}:{how}")


def fish(verbs: list[Words]) -> Iterator[str]:
    """Yield the lines for fish."""
    yield "# Completion of vfsd for fish: a file vfsd.fish in ~/.config/fish/completions."
    yield "function __vfsd_snapshots"
    yield "    set -l state ~/.local/state"
    yield "    set -q XDG_STATE_HOME; and set state $XDG_STATE_HOME"
    yield "    ls -- $state/vfsd/store/snapshots 2>/dev/null"
    yield "end"
    yield "function __vfsd_verb"
    yield "    set -l words (commandline -opc)"
    yield '    test (count $words) -ge 2; and test "$words[2]" = $argv[1]; or return 1'
    yield "    contains -- -- $words; and return 1"
    yield "    test (count $argv) -lt 2; or begin"
    yield '        test (count $words) -ge 3; and test "$words[3]" = $argv[2]'
    yield "    end"
    yield "end"
    command = "contains -- (commandline -opc)[-1] --"
    yield f"complete -c vfsd -x -n {quote(command)} -a '(__fish_complete_command)'"
    first = "test (count (commandline -opc)) -eq 1"
    second = "test (count (commandline -opc)) -eq 2; and __vfsd_verb"
    for words in verbs:
        verb, _, name = words.verb.partition(" ")
        told = quote(words.summary)
        if name:
            when = quote(f"{second} {verb}")
            yield f"complete -c vfsd -f -n {when} -a {name} -d {told}"
        else:
            yield f"complete -c vfsd -f -n {quote(first)} -a {verb} -d {told}"
        here = quote(f"__vfsd_verb {words.verb}")
        for flag in words.flags:
            yield f"complete -c vfsd -n {here} {_fish_flag(flag)}"
        if _choices(words) and not any(each.verb.startswith(f"{verb} ") for each in verbs):
            yield f"complete -c vfsd -f -n {here} -a {quote(' '.join(_choices(words)))}"
        if _names_snapshot(words):
            yield f"complete -c vfsd -n {here} -a '(__vfsd_snapshots)'"


def _fish_flag(flag: Flag) -> str:
    names = " ".join(
        f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names
    )
    value = ""
    if flag.choices:
        value = f" -x -a {quote(' '.join(flag.choices))}"
    elif flag.names[0] in FORKED:
        value = " -x -a '(__vfsd_snapshots)'"
    elif flag.value:
        value = " -r"
    return f"{names}{value} -d {_fish_text(flag.text)}"


def _fish_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


WRITERS = {"bash": bash, "zsh": zsh, "fish": fish}
