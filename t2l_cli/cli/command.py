"""What typer's command lacks: defaults from the user's file, and an option that may come without its value."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from typer.core import TyperCommand

from t2l_cli.cli.user_file import Entry, UserFile, load, options_of

BARE = {"--events": "-", "--preview": "-"}  # options that may come without a value, and what that means


class Command(TyperCommand):
    """A command whose options may stand in the user's file."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words of the command line; what is not among them, nor in the environment, is the file's."""
        if not ctx.resilient_parsing:  # as shells do to complete a word
            ctx.default_map = Defaults(words_of(ctx), commands(ctx))
        return super().parse_args(ctx, with_values(args))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The help tells of the program's own defaults, and does without the file."""
        ctx.default_map = None
        super().format_help(ctx, formatter)


class Defaults(dict[str, Any]):
    """The file's values for one command, by parameter. The file is read when the first value is asked for."""

    def __init__(self, words: str, known: Mapping[str, Command]) -> None:
        """words: of the command. known: all commands."""
        super().__init__()
        self._words, self._known = words, known

    @cached_property
    def file(self) -> UserFile:
        """The user's file."""
        return load({words: options_of(command.callback) for words, command in self._known.items()})

    @property
    def entries(self) -> dict[str, Entry]:
        """The file's values with their places."""
        return self.file.defaults.get(self._words, {})

    def get(self, name: str, default: Any = None) -> Any:
        """The file's value for the parameter ``name``."""
        entry = self.entries.get(name)
        return default if entry is None else entry.value


def words_of(ctx: Any) -> str:
    """The words of a command without the program's name, such as "models pull"."""
    return "" if ctx.parent is None else f"{words_of(ctx.parent)} {ctx.info_name}".lstrip()


def commands(ctx: Any) -> dict[str, Command]:
    """The program's commands whose options may stand in the file, by their words."""
    found = {}
    for name, command in _children(ctx.find_root().command).items():
        for words, one in {name: command, **{f"{name} {sub}": two for sub, two in _children(command).items()}}.items():
            if isinstance(one, Command):
                found[words] = one
    return found


def _children(command: Any) -> dict[str, Any]:
    return getattr(command, "commands", {})


def with_values(args: list[str]) -> list[str]:
    """The words ``args``, where an option without the value that it may lack has it."""
    end = args.index("--") if "--" in args else len(args)
    options, rest = args[:end], args[end:]
    told = [
        f"{word}={BARE[word]}" if word in BARE and after.startswith("-") and after != "-" else word
        for word, after in zip(options, [*options[1:], "--"], strict=False)
    ]
    return [*told, *rest]
