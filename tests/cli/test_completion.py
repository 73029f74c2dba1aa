"""The completion scripts, run by the shells they are for."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.cli.terminal import typed_into_bash
from vfsd.cli.main import VERBS
from vfsd.cli.parsers import everything


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("completion")
    for shell in ("bash", "zsh", "fish"):
        with open(folder / shell, "w") as script:
            command = [sys.executable, "-m", "vfsd", "completion", shell]
            subprocess.run(command, check=True, stdout=script)
    store = folder / "state/vfsd/store/snapshots"
    store.mkdir(parents=True)
    (store / "warm").touch()
    (folder / "here").mkdir()
    (folder / "here/some file").touch()
    (folder / "here/somewhere").mkdir()
    return folder


def by_bash(scripts, line):
    """Return what bash itself offers for the line: its own completion, not our function alone."""
    # `complete -p` tells what is registered; an interactive bash prints candidates on two tabs.
    script = f"""
        source {scripts}/bash
        COMP_LINE={line!r} COMP_POINT={len(line)}
        read -ra COMP_WORDS <<< "$COMP_LINE"
        [[ $COMP_LINE == *' ' ]] && COMP_WORDS+=('')
        COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _vfsd vfsd "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    return run(scripts, "bash", "--norc", "-c", script)


def by_fish(scripts, line):
    told = run(scripts, "fish", "--no-config", "-c", f"source {scripts}/fish; complete -C {line!r}")
    return [word.split("\t")[0] for word in told]


def run(scripts, *command):
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        cwd=scripts / "here",
        env={
            **os.environ,
            "XDG_STATE_HOME": str(scripts / "state"),
            "HOME": str(scripts),
            "TERM": "dumb",
        },
    )
    assert not done.stderr
    return [line for line in done.stdout.splitlines() if line]


SHELLS = {"bash": by_bash, "fish": by_fish}


@pytest.mark.parametrize("shell", SHELLS)
def test_it_completes_verbs_options_choices_and_snapshots(scripts, shell):
    complete = SHELLS[shell]
    assert set(VERBS) <= set(complete(scripts, "vfsd "))
    assert complete(scripts, "vfsd unm") == ["unmount"]
    assert complete(scripts, "vfsd mount --read") == ["--read-only"]
    assert set(complete(scripts, "vfsd mount --loop ")) == {"hot", "stock"}
    assert complete(scripts, "vfsd run --ti") == ["--timeout"]
    assert complete(scripts, "vfsd run --from ") == ["warm"]
    assert complete(scripts, "vfsd snapshot cr") == ["create"]
    assert "--replace" in complete(scripts, "vfsd snapshot create --")
    assert "warm" in complete(scripts, "vfsd snapshot rm wa")
    assert set(complete(scripts, "vfsd completion ")) == {"bash", "zsh", "fish"}
    assert "true" in complete(scripts, "vfsd run -- tru")


def test_bash_completes_on_a_terminal_paths_too(scripts):
    """Type words and tabs into a real interactive bash."""
    typed = "vfsd unmo\t some\twh\t; vfsd mount --loo\tst\t some\twh\t\n"
    said = typed_into_bash(typed, setup=scripts / "bash", cwd=scripts / "here")
    assert "<unmount><somewhere/>" in said
    assert "<mount><--loop><stock><somewhere/>" in said


def test_zsh_reads_it_and_completes(scripts):
    """zsh completes on a terminal only: one that zpty makes."""
    functions = scripts / "functions"
    functions.mkdir(exist_ok=True)
    shutil.copy(scripts / "zsh", functions / "_vfsd")
    script = f"""
        zmodload zsh/zpty
        zpty z 'PS1= zsh -f -i'
        zpty -w z 'unset zle_bracketed_paste; fpath=({functions} $fpath); autoload -U compinit'
        zpty -w z "compinit -u -D; setopt nobeep; vfsd() {{ printf '<%s>' \\"\\$@\\"; echo !; }}"
        zpty -w z "echo re''ady"
        zpty -r -m z line '*ready*'
        zpty -w -n z $'vfsd unmo\\t somew\\t\\n'
        zpty -r -m z line '*<unmount>*>!*'
        print -r -- $line
        zpty -w -n z $'vfsd run --from wa\\t --time\\t\\n'
        zpty -r -m z line '*<run>*>!*'
        print -r -- $line
        zpty -d z
    """
    said = "\n".join(run(scripts, "zsh", "-f", "-c", script))
    assert "<unmount><somewhere>" in said  # zsh takes the slash back
    assert "<run><--from><warm><--timeout>" in said


def test_every_verb_and_option_is_in_what_is_taken():
    """What is taken from the verbs is complete: each has a usage, and options have a meaning."""
    words = {each.verb: each for each in everything()}
    assert {verb.split(" ")[0] for verb in words} == set(VERBS)
    for each in words.values():
        assert each.summary
        for flag in each.flags:
            assert flag.text, (each.verb, flag)


def offered_by_bash(scripts):
    """Return, by verb, what bash offers after a dash; one shell for all of them."""
    body = """
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _vfsd vfsd - "${COMP_WORDS[COMP_CWORD-1]}"
        for each in "${COMPREPLY[@]}"; do printf '%s\\t%s\\n' "$verb" "$each"; done
    """
    steps = [
        f"verb='{words.verb}'; COMP_WORDS=(vfsd {words.verb} -)\n{body}" for words in everything()
    ]
    return by_verb(run(scripts, "bash", "--norc", "-c", f"source {scripts}/bash\n{''.join(steps)}"))


def offered_by_fish(scripts):
    steps = [
        f"for each in (complete -C 'vfsd {words.verb} -'; complete -C 'vfsd {words.verb} --')\n"
        f"    printf '%s\\t%s\\n' '{words.verb}' $each\nend\n"
        for words in everything()
    ]
    script = f"source {scripts}/fish\n{''.join(steps)}"
    return by_verb(run(scripts, "fish", "--no-config", "-c", script))


def offered_by_zsh(scripts):
    """zsh's own function is asked, which is given what `_arguments` is told of each option."""
    steps = [
        f"words=(vfsd {words.verb} -); CURRENT=$#words; told='{words.verb}'; _vfsd\n"
        for words in everything()
    ]
    script = f"""
        compdef() {{ : }}
        _describe() {{ : }}
        _arguments() {{
            for each in "$@"; do printf '%s\\t%s\\n' "$told" "${{${{each#\\*}}%%\\[*}}"; done
        }}
        source {scripts}/zsh
        {"".join(steps)}
    """
    return by_verb(run(scripts, "zsh", "-f", "-c", script))


def by_verb(lines):
    found = {}
    for line in lines:
        verb, word, *_ = line.split("\t")
        found.setdefault(verb, set()).add(word)
    return found


@pytest.mark.parametrize("offered", [offered_by_bash, offered_by_fish, offered_by_zsh])
def test_every_option_of_every_verb_is_offered(scripts, offered):
    found = offered(scripts)
    missing = {
        (words.verb, name)
        for words in everything()
        for flag in words.flags
        for name in flag.names
        if name not in found.get(words.verb, set())
    }
    assert missing == set()


@pytest.mark.parametrize("shell", SHELLS)
def test_every_choice_of_every_option_is_offered(scripts, shell):
    for words in everything():
        for flag in words.flags:
            if flag.choices:
                line = f"vfsd {words.verb} {flag.names[-1]} "
                assert set(flag.choices) <= set(SHELLS[shell](scripts, line)), line
