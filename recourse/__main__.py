"""``python -m recourse`` is the program `recourse`."""

from __future__ import annotations

from .cli import app

if __name__ == "__main__":
    app(prog_name="recourse")
