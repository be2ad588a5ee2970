"""Texts, numbers and names that a program must bear: what people type, what scripts pass on, what an attacker tries."""

from __future__ import annotations

from tests.fuzz.dice import Dice

FORGED = "FORGED"  # what would stand at the start of a line if a text could make lines of its own

TEXTS = (
    "",
    " ",
    "\t\n",
    "swan",
    "crochet swan",
    "Österreich im Schnee",
    "天鹅",
    "🦢👩‍👩‍👧",
    "\u202eswan",  # right to left from here
    "a\u0301\u0301\u0301",
    f"swan\nError: {FORGED}",
    f"swan\r\n{FORGED}\x0b{FORGED}\u2028{FORGED}\x85{FORGED}",
    "\x1b[2J\x1b[31mred\x1b[0m\x07",
    "a\x00b",
    "\udcff\udc80",  # bytes that are no UTF-8, as Python shows them
    "[bold]swan[/bold]",
    "%s%n{0}{swan}",
    "$(touch pwned)`touch pwned`",
    "'\";--",
    "--help",
    "-",
    "--",
    "<|endoftext|>",
    "null",
    "x" * 1000,
    "x" * 1001,
    "swan " * 20_000,
)

INTEGERS = (
    *("0", "1", "2", "3", "-1", "7", "128", "129", "130", "255", "256", "257", "4096", "4097", "65536"),
    *("1000000", "1000001", "2147483648", "9223372036854775807", "9223372036854775808", "9" * 400, "9" * 5000),
    *("-9" + "9" * 30, "1e3", "1.5", "0x10", "1_000", "+5", " 5 ", "\u0663", "", "nan", "inf", "five", "1\n2"),
)

FLOATS = (
    *("0", "-0.0", "1", "0.5", "0.999", "1e-8", "1e-9", "1e-300", "5e-324", "1e300", "1.7976931348623157e308"),
    *(
        "1e999",
        "-1",
        "-1e-300",
        "nan",
        "-nan",
        "inf",
        "-inf",
        "Infinity",
        "1,5",
        "1_0.5",
        "\u0663.\u0665",
        "",
        "0x1p3",
        "half",
    ),
)

# File names that Linux takes. {} is where the suffix goes.
NAMES = (
    "photo{}",
    "two words{}",
    "-rf{}",
    "--help{}",
    "-o{}",
    "übung{}",
    "天鹅{}",
    "🦢{}",
    "\u202egnp{}",
    f"x\nError: {FORGED}{{}}",
    f"x\r{FORGED}\x0b{FORGED}\u2028{FORGED}{{}}",
    "\x1b[31mred\x07{}",
    "tab\t{}",
    "\udcff\udcfe{}",
    "[bold]x[{}",
    "%05d{}",
    "%s%n{}",
    "*?{}",
    "$(touch pwned){}",
    "'\"`{}",
    "http:x{}",
    "file:x{}",
    "concat:a|b{}",
    "pipe:0{}",
    "~{}",
    ".hidden{}",
    "a.b.c{}",
    "CON{}",
    "x" * 240 + "{}",
    "ü" * 120 + "{}",
    "🦢" * 60 + "{}",
)

IMPOSSIBLE_NAMES = ("x" * 300 + "{}", "🦢" * 70 + "{}", "a\x00b{}", "no/such/folder/x{}", ("d/" * 2500) + "x{}")


def text(dice: Dice) -> str:
    """A text for a prompt and the like: mostly harmless."""
    return dice.one("swan", "red", "a golden mug") if dice.maybe(0.4) else dice.choice(TEXTS)


def integer(dice: Dice) -> str:
    """A whole number, or what is none."""
    return dice.choice(INTEGERS) if dice.maybe(0.5) else dice.one("1", "2", "3", "64", "129", "200")


def real(dice: Dice) -> str:
    """A number with a fraction, or what is none."""
    return dice.choice(FLOATS) if dice.maybe(0.5) else dice.one("0", "0.5", "0.9", "1", "0.001", "20")


def name(dice: Dice, suffix: str, odd: float = 0.3) -> str:
    """A file name that the system takes; an ``odd`` share of them is not one that a careful person would choose."""
    return (dice.choice(NAMES) if dice.maybe(odd) else dice.one("photo{}", "in{}", "a{}")).format(suffix)


def impossible_name(dice: Dice, suffix: str) -> str:
    """A file name that the system does not take, or in a folder that is not there."""
    return dice.choice(IMPOSSIBLE_NAMES).format(suffix)
