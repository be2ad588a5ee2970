"""The user's file, config.toml: defaults of options, for all commands or for one, and presets of the user's own.

    offline = true               every command that has --offline
    [edit-image]
    preset = "quick"             one command
    [models.pull]
    quiet = true                 a command in two words
    [preset.quick]               t2l edit-image --preset quick
    base = "draft"
    steps = 60

A key is an option's name without the hyphens in front. The whole file is checked whenever a command asks for a value.
"""

from __future__ import annotations

import inspect
import os
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import msgspec

from t2l_cli.config import DEFAULT_PRESET, PRESETS
from t2l_cli.errors import RequestError
from t2l_cli.media.paths import reason, shown
from t2l_cli.media.records import explained
from t2l_cli.settings import FIT, PHOTO, VIDEO, Table, did_you_mean

VARIABLE = "T2L_CONFIG_FILE"
MAX_BYTES = 65_536
PRESET, BASE = "preset", "base"
Keys = tuple[str, ...]
"""Where a value stands, such as ("edit-image", "steps")."""


@dataclass(frozen=True)
class Option:
    """What the file may say about one option of a command."""

    name: str  # of the command's parameter
    kind: Any  # the type of its value
    table: Table[Any] | None = None  # that checks the value, where it is a setting


Commands = Mapping[str, Mapping[str, Option]]
"""The options of each command, by the command's words and the option's key."""


@dataclass(frozen=True)
class OwnPreset:
    """A preset of the user's: settings, by name, on top of a built-in preset."""

    base: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """A value in the file."""

    value: Any
    keys: Keys


@dataclass(frozen=True)
class UserFile:
    """The file's contents, checked."""

    path: Path
    text: str = ""
    defaults: dict[str, dict[str, Entry]] = field(default_factory=dict)  # command -> parameter -> value
    presets: dict[str, OwnPreset] = field(default_factory=dict)

    def where(self, keys: Keys) -> str:
        """The place of ``keys`` in the file, for a person."""
        return f"{shown(self.path)}, line {line_of(self.text, keys)}"


def file_path() -> Path:
    """T2L_CONFIG_FILE, otherwise config.toml in this system's folder of the user's settings. It need not exist."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(os.path.abspath(os.path.expanduser(chosen)))
    import platformdirs

    return Path(platformdirs.user_config_dir("t2l", appauthor=False)) / "config.toml"


def options_of(function: Any) -> dict[str, Option]:
    """The options of a command's ``function`` by their keys in the file."""
    function = inspect.unwrap(function)
    tables = {setting.name: table for table in tables_of(function) for setting in table.settings}
    options = {}
    for name, hint in typing.get_type_hints(function, include_extras=True).items():
        kind, *notes = get_args(hint) or (hint,)
        spelled = [note.default for note in notes if str(getattr(note, "default", "")).startswith("--")]
        if spelled:
            key = spelled[0].partition("/")[0].removeprefix("--")
            options[key] = Option(name, _in_toml(kind), tables.get(name))
    return options


def _in_toml(kind: Any) -> Any:
    """The type of an option's value as TOML has it: text instead of paths, and nothing instead of None."""
    if isinstance(kind, types.UnionType):
        kind = next(part for part in get_args(kind) if part is not types.NoneType)
    return str if kind is Path else kind


def tables_of(function: Any) -> tuple[Table[Any], ...]:
    """The tables of settings that a command's ``function`` has its options from."""
    return getattr(inspect.unwrap(function), "tables", ())


def load(commands: Commands) -> UserFile:
    """Read and check the user's file; RequestError, which names file and line, for what it may not say."""
    path = file_path()
    text = _read(path)
    if text is None:
        return UserFile(path)
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(_unreadable(path, text, error)) from error
    return _Check(UserFile(path, text), commands).file(data)


def _read(path: Path) -> str | None:
    """The text of the file; None where there is none, which is wrong only where T2L_CONFIG_FILE names it."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise RequestError(f"{shown(path)} is larger than {MAX_BYTES // 1024} kB: it is not a file of settings.")
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise RequestError(f"{shown(path)} is not a text in UTF-8.") from error
    except FileNotFoundError as error:
        if not os.environ.get(VARIABLE):
            return None
        raise RequestError(f"there is no file {shown(path)}, which {VARIABLE} names.") from error
    except (OSError, ValueError) as error:
        raise RequestError(f"cannot read {shown(path)}: {reason(error)}.") from error


def _unreadable(path: Path, text: str, error: Exception) -> str:
    """Why the file is not TOML, in a line."""
    if isinstance(error, RecursionError):
        return f"{shown(path)}: its brackets are nested too deeply."
    place = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", str(error), re.DOTALL)
    if place is None:
        return f"{shown(path)}: {shown(str(error))}."
    line = int(place[2] or text.count("\n") + 1)
    hint = ""
    if re.search(r"^\s*preset\s*=", text, re.MULTILINE) and re.search(r"^\s*\[\s*preset\s*\.", text, re.MULTILINE):
        hint = '\nBeside [preset.NAME], a preset is chosen under a command: [edit-image], then preset = "NAME".'
    what = place[1][:1].lower() + place[1][1:]
    return f"{shown(path)}, line {line}: this is not TOML: {shown(what)}.{hint}"


def line_of(text: str, keys: Keys) -> int:
    """The number of the line, from 1, on which the value at ``keys`` begins in the TOML ``text``.

    It is the line behind the last whole beginning of the text that does not have it yet: this holds for every way to
    write a key in TOML.
    """
    lines = text.split("\n")
    before = 0
    for n in range(1, len(lines) + 1):
        try:
            part: Any = tomllib.loads("\n".join(lines[:n]))
        except ValueError:  # within a value of several lines
            continue
        for key in keys:
            part = part.get(key) if isinstance(part, dict) else None
        if part is not None:
            break
        before = n
    return min(before + 1, len(lines))


class _Check:
    """Goes through the data of a file and says what is wrong."""

    def __init__(self, empty: UserFile, commands: Commands) -> None:
        self._file, self._commands = empty, commands

    def file(self, data: Mapping[str, Any]) -> UserFile:
        """The file with its contents."""
        presets = data.get(PRESET)
        for name, entries in (presets if isinstance(presets, dict) else {}).items():
            self._file.presets[name] = self._preset(name, entries)
        sections = {words.split()[0] for words in self._commands}
        keys = {key for options in self._commands.values() for key in options}
        for key, value in data.items():
            if key == PRESET and isinstance(value, dict):
                continue
            if key in sections and isinstance(value, dict):
                self._section((key,), value)
            elif key in keys:
                for words, options in self._commands.items():
                    if key in options:
                        self._default(words, options[key], value, (key,))
            elif key in sections:
                self._wrong((key,), f"{key} is a command: its settings stand below [{key}].")
            else:
                self._unknown((key,), keys | sections | {PRESET})
        return self._file

    def _section(self, words: Keys, entries: Mapping[str, Any]) -> None:
        options = self._commands.get(" ".join(words))
        if options is None:  # the first of two words, as in [models.pull]
            inner = {name.split()[1] for name in self._commands if name.split()[0] == words[0]}
            for key, value in entries.items():
                if key not in inner or not isinstance(value, dict):
                    self._unknown((*words, key), inner)
                self._section((*words, key), value)
            return
        for key, value in entries.items():
            if key not in options:
                self._unknown((*words, key), options)
            self._default(" ".join(words), options[key], value, (*words, key))

    def _default(self, words: str, option: Option, value: Any, keys: Keys) -> None:
        value = self._converted(value, option.kind, keys)
        if option.table is not None:
            self._settings(option.table, {option.name: value}, keys)
        if option.name == PRESET:
            self._known_preset(value, [*PRESETS, *self._file.presets], keys)
        known = self._file.defaults.setdefault(words, {})
        if len(keys) > 1 or option.name not in known:  # what is said for one command wins
            known[option.name] = Entry(value, keys)

    def _preset(self, name: str, entries: Any) -> OwnPreset:
        keys = (PRESET, name)
        if name in PRESETS:
            self._wrong(keys, f"{name} is a preset of t2l; choose another name.")
        if not isinstance(entries, dict):
            self._wrong(keys, f'a preset is a table: [preset.{shown(name)}], then lines such as base = "draft".')
        base = entries.get(BASE, DEFAULT_PRESET)
        self._known_preset(base, PRESETS, (*keys, BASE))
        every = [(table, setting) for table in (PHOTO, VIDEO, FIT) for setting in table.settings]
        settings = {}
        for key, value in entries.items():
            if key == BASE:
                continue
            having = [(table, setting) for table, setting in every if setting.key == key]
            if not having:
                self._unknown((*keys, key), {setting.key for _, setting in every} | {BASE})
            for table, setting in having:
                one: Any = table.kind(setting)
                kind = list[one] if setting.several else one
                settings[setting.name] = self._converted(value, kind, (*keys, key))
                self._settings(table, {setting.name: settings[setting.name]}, (*keys, key))
        return OwnPreset(base, settings)

    def _known_preset(self, name: Any, known: Iterable[str], keys: Keys) -> None:
        known = list(known)
        if name not in known:
            close = did_you_mean(name, known) if isinstance(name, str) else ""
            self._wrong(
                keys,
                f"there is no preset {shown(repr(name))}{close or '; choose ' + ', '.join(map(shown, known)) + '.'}",
            )

    def _converted(self, value: Any, kind: Any, keys: Keys) -> Any:
        """``value``, which must be of the type ``kind``; a path may begin with ~/, and a list of one may be the one."""
        if typing.get_origin(kind) is list and not isinstance(value, list):
            value = [value]
        if isinstance(value, str) and value.startswith("~/"):
            value = os.path.expanduser(value)
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            self._wrong(keys, f"{explained(str(error), shown(keys[-1]))}.")

    def _settings(self, table: Table[Any], values: Mapping[str, Any], keys: Keys) -> None:
        try:
            table.configure(values)
        except RequestError as error:
            self._wrong(keys, str(error))

    def _unknown(self, keys: Keys, known: Iterable[str]) -> typing.NoReturn:
        place = "" if len(keys) == 1 else f" for {shown(' '.join(keys[:-1]))}"
        close = did_you_mean(keys[-1], known)
        self._wrong(keys, f'there is no setting "{shown(keys[-1])}"{place}{close or "."}')

    def _wrong(self, keys: Keys, what: str) -> typing.NoReturn:
        raise RequestError(f"{self._file.where(keys)}: {what}")
